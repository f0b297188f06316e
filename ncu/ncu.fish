# Completion of ncu(1) for fish: options, then machines that netman knows.

function __ncu_machines
    netman links --json 2>/dev/null | string replace -rf '.*"row":"link","machine":"([^"]*)".*' '$1' | sort -u
end

complete -c ncu -f -a '(__ncu_machines)' -d machine
complete -c ncu -s e -x -a none -d 'escape character'
complete -c ncu -s l -x -a '(__fish_complete_users)' -d 'user there'
complete -c ncu -s r -d 'take up the latest session'
complete -c ncu -s V -l version -d 'the version'
complete -c ncu -l help -d 'how to use it'
