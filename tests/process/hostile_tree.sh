# A family that does not want to end. $1 is a folder: every member leaves its pid there as a file's name.
# Nobody dies of HUP or TERM. `wiped` has no environment, so no mark; `hidden` also has no parent of ours and no session of ours.
trap '' HUP TERM
touch "$1/$$"
member='trap "" HUP TERM; touch "$0/$$"; while :; do sleep 1000; done'
/bin/sh -c "$member" "$1" &
setsid /bin/sh -c "$member" "$1" &
(setsid /bin/sh -c "$member" "$1" &)
(env -i setsid /bin/sh -c "exec <&- >&- 2>&-; $member" "$1" &)
(env -i setsid /bin/sh -c "$member" "$1" &)
while :; do sleep 1000; done
