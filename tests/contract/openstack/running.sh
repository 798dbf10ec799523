# What the scripts of this folder share: `run` a command and count, `value` of one. To be sourced.
# `openstack` is a function here: it hands the words to client.py, which loads the client once (the reason is there).
passed=0 failed=0
coproc CLIENT { exec "$(dirname "$(command -v openstack)")/python" "$(dirname "${BASH_SOURCE[0]}")/client.py"; }
exec {to_client}>&"${CLIENT[1]}" {from_client}<&"${CLIENT[0]}"
answers=$(mktemp -d)
trap 'rm -rf "$answers"' EXIT
openstack() { # COMMAND...
    local status
    printf '%s\0' "$answers/stdout" "$answers/stderr" $# "$@" >&"$to_client"
    read -r -u "$from_client" status || { echo 'the client has ended' >&2; return 71; }
    cat "$answers/stdout"
    cat "$answers/stderr" >&2
    return "$status"
}
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
# Runs the command of `run` again until it is as wanted, for forty tries: for what goes on after an answer.
soon() {
    local before=$failed try
    for try in {1..40}; do
        run "$@" >/dev/null
        if [ $failed -eq $before ]; then printf 'ok    openstack %s\n' "${*:3}"; return; fi
        failed=$before
        sleep 0.2
    done
    run "$@"
}
