#!/usr/bin/env bash
# Do the tests notice a broken lock? Each patch in ci/mutants plants one bug, which its first line describes, and names in its second
# line the command that must fail then: a test, or a cell of the table. Usage: ci/mutants.sh [NUMBER..]; without numbers all of them.
# Exits 1 if a bug survives, 2 if a patch or a command is no good.
#
# Works in a git worktree of HEAD with a target directory of its own, so what is not committed does not count, and a mutant costs
# one incremental build. LIMIT is the most seconds for a command: a mutant that hangs is killed by the clock.
set -euo pipefail
cd "$(dirname "$0")/.."
patches=$PWD/ci/mutants
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")/mutants
tree=$target/tree
log=$target/log
limit=${LIMIT:-120}
export CARGO_TARGET_DIR=$target CARGO_PROFILE_DEV_DEBUG=0

# A worktree that a killed run left behind is replaced; its path stays the same, so that builds are incremental.
remove() { git worktree remove --force "$tree" 2> /dev/null || true; }
mkdir -p "$target"
remove
git worktree add --quiet --force --detach "$tree" HEAD
trap remove EXIT

# Compiles what the command $1 runs. Apart, so that a patch that does not compile is no kill, and the clock measures the test.
build() {
    local build=${1%% -- *}
    case $build in
        *"cargo test"*) build+=" --no-run" ;;
        *) build=${build/cargo run/cargo build} ;;
    esac
    (cd "$tree" && bash -c "$build")
}
run() { (cd "$tree" && timeout --kill-after 10 "$limit" bash -c "$1"); }

chosen=()
if [ $# = 0 ]; then
    chosen=("$patches"/*.patch)
else
    for number in "$@"; do
        printf -v number %03d "$((10#$number))"
        chosen+=("$patches/$number"-*.patch)
    done
fi

# Without a bug every command passes, or its failing would say nothing.
errors=0
commands=$(sed -sn 2p "${chosen[@]}" | sort -u)
while IFS= read -r command; do
    if ! { build "$command" && run "$command"; } > "$log" 2>&1 < /dev/null; then
        tail -n 40 "$log"
        echo "error: fails without a bug: $command"
        errors=1
    elif grep -q '^test result: ok. 0 passed' "$log"; then
        echo "error: runs no test: $command"
        errors=1
    fi
done <<< "$commands"
[ $errors = 0 ] || exit 2

survivors=0
printf '%-4s %-44s %s\n' number name 'killed by'
for patch in "${chosen[@]}"; do
    name=$(basename "$patch" .patch)
    command=$(sed -n 2p "$patch")
    git -C "$tree" checkout --quiet -- .
    status=0
    if ! git -C "$tree" apply "$patch" > "$log" 2>&1; then
        outcome="ERROR: does not apply"
        errors=1
    elif ! build "$command" > "$log" 2>&1 < /dev/null; then
        outcome="ERROR: does not compile"
        errors=1
    else
        run "$command" > "$log" 2>&1 < /dev/null || status=$?
        case $status in
            0) outcome="SURVIVED $command"; survivors=1 ;;
            124 | 137) outcome="timeout of $command" ;;
            *) outcome=$command ;;
        esac
    fi
    printf '%-4s %-44s %s\n' "${name%%-*}" "${name#*-}" "$outcome"
    case $outcome in ERROR* | SURVIVED*) cp "$log" "$target/$name.log" ;; esac
done
[ $errors = 0 ] || exit 2
exit $survivors
