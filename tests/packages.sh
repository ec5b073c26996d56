# packages.sh - sees which packages a script lacks, and installs them. Sourced by tests/run and bench/run.
#
# A list has, for each package, "how to see that it is there":"its name in Debian and Ubuntu". The
# script has a function `say`.

have() {
    case $1 in
    lib-*) pkg-config --exists "${1#lib-}" 2>/dev/null ;;
    header-*) echo "#include <${1#header-}>" | cc -E -x c - >/dev/null 2>&1 ;;
    cross-*) echo '#include <stdio.h>' | "${1#cross-}-gcc" -E -x c - >/dev/null 2>&1 ;;
    venv) python3 -c 'import venv, ensurepip' 2>/dev/null ;;
    *) command -v "$1" >/dev/null ;;
    esac
}

# The packages of a list that are not here, on one line.
lacking() {
    local entry packages=
    for entry in $1; do
        have "${entry%:*}" || packages+=" ${entry##*:}"
    done
    echo $packages
}

# sudo may ask for a password, at the terminal if there is one: so it is outside of timeout.
apt() {
    local root=
    [ "$(id -u)" = 0 ] || root=sudo
    $root env DEBIAN_FRONTEND=noninteractive timeout --foreground --kill-after=30 900 \
        apt-get -qq -o DPkg::Lock::Timeout=120 "$@" </dev/null
}

# install_packages NEEDS WANTS LOG: afterwards `unmet` are the packages of WANTS that could not be
# had. Without one of NEEDS, it ends the script: exit status 2.
install_packages() {
    local packages
    packages=$(lacking "$1 $2")
    if [ -n "$packages" ] && command -v apt-get >/dev/null &&
        { [ "$(id -u)" = 0 ] || command -v sudo >/dev/null; }; then
        say "installing $packages"
        { apt update; apt install -y --no-install-recommends $packages; } >>"$3" 2>&1 || tail -5 "$3" >&2
    fi
    packages=$(lacking "$1")
    if [ -n "$packages" ]; then
        say "cannot go on without these, by the names that Debian gives them: $packages"
        exit 2
    fi
    unmet=$(lacking "$2")
}
