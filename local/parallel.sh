# Runs steps side by side and prints what remains. Sourced by `setup.sh` and `test.sh`.
#
#   start NAME PACE COMMAND...   starts a step; its output goes to .local/logs/NAME.log
#   finish                       waits for all steps, and fails if one of them failed
#
# PACE says how far the step usually is after how many seconds, in percent of the
# crates that cargo builds: "60:90 100:300". A step without crates has only
# "100:SECONDS". The estimate of the time that is left is scaled by the machine's own
# speed, as measured so far.

readonly LOGS=.local/logs
# Between lines of progress when the output is a file: CI's log stays readable.
readonly PROGRESS_SECONDS=30

declare -A group=() pace=() began=() moved=() crates=()

say() { printf '%s\n' "$*" >&2; }

# took NAME SINCE: the line of a step that is done.
took() {
    awk -v from="$2" -v to="$EPOCHREALTIME" -v name="$1" \
        'BEGIN { printf "%7.1f s  %s\n", to - from, name }' >&2
}

start() {
    local name=$1
    pace[$name]=$2 began[$name]=$EPOCHREALTIME moved[$name]=0 crates[$name]=''
    shift 2
    mkdir -p "$LOGS"
    # With job control, the step is a process group, which can be ended as a whole.
    set -m
    # Cargo counts its crates only for terminals, unless it is told to.
    CARGO_TERM_PROGRESS_WHEN=always CARGO_TERM_PROGRESS_WIDTH=80 \
        "$@" </dev/null >"$LOGS/$name.log" 2>&1 &
    set +m
    group[$name]=$!
}

end_all() {
    local name
    clear_line
    for name in "${!group[@]}"; do
        kill -TERM -- "-${group[$name]}" 2>/dev/null || true
    done
    wait
}
trap end_all EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# The log without cargo's progress bars, which overwrite each other by returns.
readable_log() { tr '\r' '\n' <"$LOGS/$1.log" | grep -Ev '^\s*(Building|$)'; }

# remaining NAME ELAPSED: the estimate, in seconds.
remaining() {
    awk -v pace="${pace[$1]}" -v crates="${crates[$1]}" -v moved="${moved[$1]}" -v now="$2" '
        BEGIN {
            split(crates, count, "/")
            at = count[2] > 0 ? 100 * count[1] / count[2] : 0
            marks = split(pace, mark, " ")
            for (i = 1; i <= marks; i++) {
                split(mark[i], next_mark, ":")
                if (at > percent && at <= next_mark[1])
                    usual = seconds + (next_mark[2] - seconds) * (at - percent) / (next_mark[1] - percent)
                percent = next_mark[1]
                seconds = next_mark[2]
            }
            speed = usual > 0 ? moved / usual : 1
            speed = speed < 0.25 ? 0.25 : speed > 4 ? 4 : speed
            left = (seconds - usual) * speed - (now - moved)
            printf "%d", (left > 0 ? left : 0)
        }'
}

# Prints what runs, and the longest of the estimates.
print_progress() {
    local name elapsed newest count left longest=0 line=''
    for name in "${!group[@]}"; do
        elapsed=$(awk -v from="${began[$name]}" -v to="$EPOCHREALTIME" 'BEGIN { print to - from }')
        newest=$(tail -c 400 "$LOGS/$name.log" | tr '\r' '\n')
        count=$(grep -oE '[0-9]+/[0-9]+' <<<"$newest" | tail -n 1 || true)
        if [[ -n $count && $count != "${crates[$name]}" ]]; then
            crates[$name]=$count moved[$name]=$elapsed
        fi
        left=$(remaining "$name" "$elapsed")
        ((left > longest)) && longest=$left
        count=${crates[$name]}
        line+="${line:+; }$name${count:+: ${count%/*} of ${count#*/} crates}"
        [[ ${newest##*$'\n'} == *Blocking* ]] && line+=" (waits for another cargo)"
    done
    line+="; about $((longest / 60 + 1)) min left"
    if [[ -t 2 ]]; then
        printf '\r\033[K%s' "${line:0:$((${COLUMNS:-80} - 1))}" >&2
    else
        say "           $line"
    fi
}

clear_line() { if [[ -t 2 ]]; then printf '\r\033[K' >&2; fi; }

finish() {
    local name status printed=$SECONDS every=1
    [[ -t 2 ]] || every=$PROGRESS_SECONDS
    while ((${#group[@]} > 0)); do
        sleep 0.2
        for name in "${!group[@]}"; do
            kill -0 "${group[$name]}" 2>/dev/null && continue
            status=0
            wait "${group[$name]}" || status=$?
            unset "group[$name]"
            clear_line
            if ((status != 0)); then
                readable_log "$name" | tail -n 40 >&2
                say "$name failed; all of its output: $LOGS/$name.log"
                return 1
            fi
            took "$name" "${began[$name]}"
        done
        if ((${#group[@]} > 0 && SECONDS - printed >= every)); then
            printed=$SECONDS
            print_progress
        fi
    done
}
