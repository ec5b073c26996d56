/* scope.c - semantics.md section 2: cancel scopes. */
#include "harness.h"

COIL_TEST(scope, s2_7_a_deadline_already_past_acts_at_the_first_checkpoint)
{
    struct coil_scope s;

    coil_scope_begin(&s, coil_now() - 1);
    CHECK_EQ(coil_checkpoint(), -ECANCELED);
    CHECK_EQ(coil_scope_end(&s, -ECANCELED), 0);
    CHECK(coil_scope_caught(&s));
}
