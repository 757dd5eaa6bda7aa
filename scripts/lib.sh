# shellcheck shell=bash
# What the scripts share: how they speak, and how they install packages of the system when they may.

say() { printf '%s\n' "$*" >&2; }

die() {
    say "${0##*/}: $*"
    exit 1
}

have() { command -v "$1" >/dev/null 2>&1; }

have_all() {
    local program
    for program in "$@"; do have "$program" || return 1; done
}

may_be_root() { ((EUID == 0)) || { have sudo && sudo -n true 2>/dev/null; }; }

as_root() { if ((EUID == 0)); then "$@"; else sudo -n "$@"; fi; }

may_install() { have apt-get && may_be_root; }

# apt_install PACKAGE...: quietly, and without starting the services that the packages bring.
apt_install() {
    local policy=/usr/sbin/policy-rc.d made_policy="" log status=0
    log=$(mktemp)
    if [[ ! -e $policy ]]; then
        printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
        as_root chmod 755 "$policy"
        made_policy=yes
    fi
    say "installing $*"
    as_root apt-get update -qq >"$log" 2>&1 || say "apt-get update failed; trying with the lists that are here"
    as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends "$@" >>"$log" 2>&1 </dev/null || status=$?
    [[ -z $made_policy ]] || as_root rm -f "$policy"
    ((status == 0)) || tail -n 20 "$log" >&2
    rm -f "$log"
    return "$status"
}
