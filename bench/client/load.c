/* load.c - the client of the echo benches: asks, compares every byte that comes back, and times it.
 *
 *      load --port P [--connections N] [--size BYTES] [--seconds S] [--rate R] [--connect]
 *           [--seed X] [--patience S]
 *
 * Connects, makes one round trip on each connection, prints "ready" and waits for a line. Then it
 * runs for S seconds, lets come back what is in flight, and prints one line of JSON. It keeps its
 * connections until its standard input ends, or for a second: so whoever reads the server's clock
 * between the two lines sees the requests and nothing else.
 *
 * Closed loop: each connection has one request in flight. With --rate it is an open one: requests
 * are due at fixed times, R a second, dealt to the connections in turn, and the latency counts from
 * when a request was due. One whose connection still waits for the last answer waits too, on the
 * server's account. With --connect each request has a connection of its own, opened and closed.
 *
 * Exit status: 0; 1: the server refused, closed, or has not answered --patience seconds after the
 * end; 2: usage; 3: a wrong byte came back.
 *
 * It has to be cheaper than what it measures: payloads are sent from where they lie and compared
 * where they arrive, a socket is asked only when it has something, once, and the clock is read once
 * a request. */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    EXIT_LOST = 1,
    EXIT_USAGE = 2,
    EXIT_WRONG = 3,
    EVENT_COUNT_MAX = 512,
    CONNECTING_COUNT_MAX = 64, /* less than any server's backlog */
    ADDRESS_COUNT = 200,
    PAYLOAD_COUNT = 8192, /* as many different ones in a row */
    PAYLOAD_STEP = 8,
    SIZE_MAX_BYTES = 1 << 24,
};

static const int64_t SECOND_NS = 1000 * 1000 * 1000;
static const int64_t LATE_NS = 1000 * 1000;

struct connection {
    int fd;              /* -1: closed */
    const char *payload; /* of the request in flight; NULL: there is none */
    size_t sent;
    size_t received;
    int64_t since_ns;    /* when the request in flight was sent, or, in an open loop, was due */
    uint64_t next_index; /* open loop: of the requests that are this connection's, the next */
};

/* What a connection does when its answer is complete. */
enum phase { PHASE_WARM_UP, PHASE_CLOSED, PHASE_OPEN };

static struct {
    int port;
    int connections;
    size_t size;
    double seconds;
    double rate; /* requests a second; 0: closed loop */
    bool connect;
    uint64_t seed;
    double patience_s;
} options = {.connections = 1, .size = 64, .seconds = 1, .seed = 1, .patience_s = 10};

static int epoll_fd;
static struct connection *connections;
static char *payloads; /* random; a request's begin at a multiple of PAYLOAD_STEP */
static char *buffer;
static enum phase phase;
static int opened;         /* warm-up: so many connections have begun theirs */
static int in_flight;      /* requests */
static uint64_t begun;     /* requests, since ever */
static int64_t start_ns;   /* of the run */
static int64_t end_ns;     /* of the run: no request begins from here on */
static int64_t give_up_ns; /* a server that has not answered by now never will */
static uint64_t due_index; /* open loop: the next request that is not due yet */
static uint64_t due_count; /* open loop: requests in all */
static uint64_t late;
static int64_t *samples_ns;
static size_t sample_count, sample_room;

__attribute__((format(printf, 2, 3))) static _Noreturn void die(int status, const char *format, ...)
{
    va_list arguments;

    fputs("load: ", stderr);
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    exit(status);
}

static int64_t clock_ns(clockid_t clock)
{
    struct timespec t;

    clock_gettime(clock, &t);
    return t.tv_sec * SECOND_NS + t.tv_nsec;
}

static int64_t now_ns(void)
{
    return clock_ns(CLOCK_MONOTONIC);
}

static void *allocate(size_t size)
{
    void *p = malloc(size);

    if (!p)
        die(EXIT_LOST, "no memory for %zu bytes", size);
    return p;
}

/* --- Payloads --------------------------------------------------------------------------------- */

static uint64_t random_next(uint64_t *state) /* splitmix64 */
{
    uint64_t z = *state += 0x9e3779b97f4a7c15;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
}

static void payloads_make(void)
{
    size_t size = PAYLOAD_COUNT * PAYLOAD_STEP + options.size + sizeof(uint64_t);
    uint64_t state = options.seed;

    payloads = allocate(size);
    buffer = allocate(options.size + 1);
    for (size_t i = 0; i + sizeof(uint64_t) <= size; i += sizeof(uint64_t)) {
        uint64_t word = random_next(&state);

        memcpy(payloads + i, &word, sizeof(word));
    }
}

/* The factor is odd, so PAYLOAD_COUNT requests in a row all begin at different places, and no more
 * are ever in flight: what answers another connection's request, or the last one, is wrong. */
static const char *payload_of(uint64_t index)
{
    return payloads + (index * 40503 + options.seed) % PAYLOAD_COUNT * PAYLOAD_STEP;
}

static _Noreturn void wrong_answer(const struct connection *c, size_t count)
{
    long number = c - connections;
    size_t i = 0, missing = c->payload ? options.size - c->received : 0;

    while (i < count && i < missing && buffer[i] == c->payload[c->received + i])
        i++;
    if (i == missing)
        die(EXIT_WRONG, "wrong answer: connection %ld got more bytes than were sent", number);
    die(EXIT_WRONG,
        "wrong answer: connection %ld, byte %zu of %zu is 0x%02x and was sent as 0x%02x", number,
        c->received + i, options.size, (unsigned char)buffer[i],
        (unsigned char)c->payload[c->received + i]);
}

/* --- Samples ---------------------------------------------------------------------------------- */

static void sample_add(int64_t latency_ns)
{
    if (sample_count == sample_room) {
        sample_room = sample_room ? 2 * sample_room : 1 << 20;
        samples_ns = realloc(samples_ns, sample_room * sizeof(*samples_ns));
        if (!samples_ns)
            die(EXIT_LOST, "no memory for %zu latencies", sample_room);
    }
    samples_ns[sample_count++] = latency_ns;
}

static int compare_samples(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return (x > y) - (x < y);
}

/* The least latency that `thousandths` of all do not exceed. */
static double percentile_us(size_t thousandths)
{
    size_t rank = (sample_count * thousandths + 999) / 1000;

    return sample_count ? (double)samples_ns[rank - 1] / 1000 : 0;
}

/* --- One connection --------------------------------------------------------------------------- */

/* Each from another address of the loopback net: a closed connection keeps its port for a minute,
 * and one address has only 28,000. */
static struct sockaddr_in source_address(uint64_t number)
{
    uint32_t host = 0x7f010001 + (uint32_t)((number + options.seed) % ADDRESS_COUNT);

    return (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(host)};
}

static void connection_open(struct connection *c)
{
    struct sockaddr_in from = source_address(begun);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)options.port)};
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET};

    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    event.data.ptr = c;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0)
        die(EXIT_LOST, "socket: %s", strerror(errno));
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    setsockopt(c->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &(int){1}, sizeof(int));
    /* While the port rests, a server may still listen on it. */
    setsockopt(c->fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    if (bind(c->fd, (struct sockaddr *)&from, sizeof(from)) < 0)
        die(EXIT_LOST, "bind: %s", strerror(errno));
    if (connect(c->fd, (struct sockaddr *)&to, sizeof(to)) < 0 && errno != EINPROGRESS)
        die(EXIT_LOST, "connect: %s", strerror(errno));
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, c->fd, &event) < 0)
        die(EXIT_LOST, "epoll_ctl: %s", strerror(errno));
}

/* An ordinary close, and ours is the first: the server sees an end of stream, not an error, and we
 * are left with the port that has to rest. */
static void connection_close(struct connection *c)
{
    close(c->fd);
    c->fd = -1;
}

static _Noreturn void connection_lost(const struct connection *c, const char *what)
{
    die(EXIT_LOST, "connection %ld: %s, with %zu of %zu bytes back, after %zu answers",
        (long)(c - connections), what, c->received, options.size, sample_count);
}

/* Sends until all is gone or the socket is full; it tells when there is room. */
static void connection_send(struct connection *c)
{
    while (c->payload && c->sent < options.size) {
        ssize_t n = send(c->fd, c->payload + c->sent, options.size - c->sent, MSG_NOSIGNAL);

        if (n >= 0)
            c->sent += (size_t)n;
        else if (errno == EAGAIN)
            return;
        else
            connection_lost(c, strerror(errno));
    }
}

static void request_begin(struct connection *c, int64_t since_ns)
{
    if (c->fd < 0)
        connection_open(c);
    c->payload = payload_of(begun++);
    c->sent = c->received = 0;
    c->since_ns = since_ns;
    in_flight++;
    connection_send(c);
}

static int64_t due_ns(uint64_t index)
{
    return start_ns + (int64_t)((double)index * 1e9 / options.rate);
}

static void request_begin_due(struct connection *c, int64_t now)
{
    int64_t due = due_ns(c->next_index);

    late += now - due > LATE_NS;
    c->next_index += (uint64_t)options.connections;
    request_begin(c, due);
}

static void answer_complete(struct connection *c)
{
    int64_t now = now_ns();

    sample_add(now - c->since_ns);
    c->payload = NULL;
    in_flight--;
    if (options.connect)
        connection_close(c);
    if (phase == PHASE_CLOSED && now < end_ns)
        request_begin(c, now);
    else if (phase == PHASE_OPEN && c->next_index < due_index)
        request_begin_due(c, now);
    else if (phase == PHASE_WARM_UP && opened < options.connections)
        request_begin(&connections[opened++], now);
}

/* Asks for one byte more than may come. So a byte too many is seen, and the read is short, which
 * says that the socket is empty: it need not be asked again before it tells. */
static void connection_receive(struct connection *c)
{
    size_t missing = c->payload ? options.size - c->received : 0;
    ssize_t n = recv(c->fd, buffer, missing + 1, 0);

    if (n < 0 && errno == EAGAIN)
        return;
    if (n <= 0)
        connection_lost(c, n < 0 ? strerror(errno) : "the server closed it");
    if ((size_t)n > missing || memcmp(buffer, c->payload + c->received, (size_t)n) != 0)
        wrong_answer(c, (size_t)n);
    c->received += (size_t)n;
    if (c->received == options.size)
        answer_complete(c);
}

/* --- All of them ------------------------------------------------------------------------------ */

static void begin_what_is_due(void)
{
    int64_t now = now_ns();

    for (; due_index < due_count && due_ns(due_index) <= now; due_index++) {
        struct connection *c = &connections[due_index % (uint64_t)options.connections];

        if (!c->payload)
            request_begin_due(c, now);
    }
}

static void check_patience(void)
{
    if (now_ns() > give_up_ns)
        die(EXIT_LOST, "the server does not answer: %d requests wait, %zu were answered", in_flight,
            sample_count);
}

/* In an open loop it never sleeps: waking up takes time, and it would count as the server's. */
static int wait_limit_ms(void)
{
    int64_t left_ns = give_up_ns - now_ns();

    if (phase == PHASE_OPEN || left_ns < 0)
        return 0;
    return (int)(left_ns / 1000000) + 1;
}

static void run_to_the_end(void)
{
    struct epoll_event events[EVENT_COUNT_MAX];

    while (in_flight > 0 || due_index < due_count) {
        int count = epoll_wait(epoll_fd, events, EVENT_COUNT_MAX, wait_limit_ms());

        for (int i = 0; i < count; i++) {
            struct connection *c = events[i].data.ptr;

            if (c->sent < options.size && events[i].events & EPOLLOUT)
                connection_send(c);
            if (events[i].events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
                connection_receive(c);
            if (phase == PHASE_OPEN)
                begin_what_is_due();
        }
        if (phase == PHASE_OPEN)
            begin_what_is_due();
        check_patience();
    }
}

static void set_times(double seconds)
{
    start_ns = now_ns();
    end_ns = start_ns + (int64_t)(seconds * 1e9);
    give_up_ns = end_ns + (int64_t)(options.patience_s * 1e9);
}

static void warm_up(void)
{
    phase = PHASE_WARM_UP;
    set_times(0);
    while (opened < options.connections && opened < CONNECTING_COUNT_MAX)
        request_begin(&connections[opened++], start_ns);
    run_to_the_end();
    sample_count = 0;
}

static void run(void)
{
    set_times(options.seconds);
    phase = options.rate > 0 ? PHASE_OPEN : PHASE_CLOSED;
    due_count = (uint64_t)(options.rate * options.seconds);
    for (int i = 0; phase == PHASE_CLOSED && i < options.connections; i++)
        request_begin(&connections[i], now_ns());
    run_to_the_end();
}

static void report(int64_t wall_ns, int64_t cpu_ns)
{
    qsort(samples_ns, sample_count, sizeof(*samples_ns), compare_samples);
    printf("{\"requests\": %zu, \"seconds\": %.6f, \"busy\": %.3f, \"p50_us\": %.1f, "
           "\"p99_us\": %.1f, \"p999_us\": %.1f, \"max_us\": %.1f, \"late\": %llu}\n",
           sample_count, (double)wall_ns / 1e9, (double)cpu_ns / (double)wall_ns,
           percentile_us(500), percentile_us(990), percentile_us(999), percentile_us(1000),
           (unsigned long long)late);
    fflush(stdout);
}

/* --- The beginning and the end ---------------------------------------------------------------- */

static void wait_for_a_line(void)
{
    char c;

    while (read(STDIN_FILENO, &c, 1) == 1 && c != '\n')
        ;
}

static void wait_for_the_end_of_input(void)
{
    struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
    char text[64];

    while (poll(&input, 1, 1000) == 1 && read(STDIN_FILENO, text, sizeof(text)) > 0)
        ;
}

static void allow_descriptors(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static void connections_make(void)
{
    connections = allocate((size_t)options.connections * sizeof(*connections));
    for (int i = 0; i < options.connections; i++)
        connections[i] = (struct connection){.fd = -1, .next_index = (uint64_t)i};
}

static bool option_set(int name, const char *value)
{
    switch (name) {
    case 'p':
        options.port = atoi(value);
        return options.port > 0 && options.port < 65536;
    case 'n':
        options.connections = atoi(value);
        return options.connections > 0 && options.connections <= PAYLOAD_COUNT;
    case 'b':
        options.size = strtoul(value, NULL, 10);
        return options.size > 0 && options.size <= SIZE_MAX_BYTES;
    case 's':
        options.seconds = strtod(value, NULL);
        return options.seconds > 0 && options.seconds <= 3600;
    case 'r':
        options.rate = strtod(value, NULL);
        return options.rate > 0 && options.rate <= 1e8;
    case 'w':
        options.patience_s = strtod(value, NULL);
        return options.patience_s > 0 && options.patience_s <= 3600;
    case 'x':
        options.seed = strtoull(value, NULL, 10);
        return true;
    case 'c':
        options.connect = true;
        return true;
    default:
        return false;
    }
}

static void parse(int argc, char **argv)
{
    static const struct option names[] = {
        {"port", required_argument, NULL, 'p'},
        {"connections", required_argument, NULL, 'n'},
        {"size", required_argument, NULL, 'b'},
        {"seconds", required_argument, NULL, 's'},
        {"rate", required_argument, NULL, 'r'},
        {"patience", required_argument, NULL, 'w'},
        {"connect", no_argument, NULL, 'c'},
        {"seed", required_argument, NULL, 'x'},
        {NULL, 0, NULL, 0},
    };
    int name;

    while ((name = getopt_long(argc, argv, "", names, NULL)) != -1)
        if (!option_set(name, optarg))
            options.port = 0, optind = argc;
    if (options.port == 0 || optind < argc) {
        fprintf(stderr, "usage: load --port P [--connections N] [--size BYTES] [--seconds S] "
                        "[--rate R] [--connect] [--seed X] [--patience S]\n");
        exit(EXIT_USAGE);
    }
}

int main(int argc, char **argv)
{
    int64_t cpu_ns;

    parse(argc, argv);
    allow_descriptors();
    payloads_make();
    connections_make();
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (epoll_fd < 0)
        die(EXIT_LOST, "epoll_create1: %s", strerror(errno));
    warm_up();
    puts("ready");
    fflush(stdout);
    wait_for_a_line();

    cpu_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID);
    run();
    report(now_ns() - start_ns, clock_ns(CLOCK_THREAD_CPUTIME_ID) - cpu_ns);
    wait_for_the_end_of_input();
    return 0;
}
