# What the scripts of this folder share: `run` a command and count, `value` of one. To be sourced.
passed=0 failed=0
run() { # WANTED TEXT COMMAND...
    local wanted=$1 text=$2 output status
    shift 2
    output=$(openstack "$@" 2>&1)
    status=$?
    local good=no
    if [ $status -eq 0 ]; then good=ok; fi
    if [ $good = "$wanted" ] && { [ -z "$text" ] || grep -qF -- "$text" <<<"$output"; }; then
        passed=$((passed + 1))
        printf 'ok    openstack %s\n' "$*"
    else
        failed=$((failed + 1))
        printf 'FAIL  openstack %s (status %d, wanted %s and %q)\n%s\n' "$*" $status "$wanted" "$text" "$output"
    fi
}
value() { openstack "$@" -f value -c id; }
# Runs the command of `run` again until it is as wanted, for ten tries: for what goes on after an answer.
soon() {
    local before=$failed try
    for try in 1 2 3 4 5 6 7 8 9; do
        run "$@" >/dev/null
        if [ $failed -eq $before ]; then printf 'ok    openstack %s\n' "${*:3}"; return; fi
        failed=$before
    done
    run "$@"
}
