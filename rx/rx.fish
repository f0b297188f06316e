# Completion of rx(1) for fish: options, then machines that netman knows, then commands.

function __rx_machines
    netman links --json 2>/dev/null | string replace -rf '.*"row":"link","machine":"([^"]*)".*' '$1' | sort -u
end

# Whether the machine, or -a, has been given already.
function __rx_after_machine
    set -l value 0
    for word in (commandline -opc)[2..]
        if test $value = 1
            set value 0
        else if string match -qr '^-[lePo]$' -- $word
            set value 1
        else if test $word = -a
            return 0
        else if not string match -q -- '-*' $word
            return 0
        end
    end
    return 1
end

complete -c rx -f -n 'not __rx_after_machine' -a '(__rx_machines)' -d machine
complete -c rx -n __rx_after_machine -a '(__fish_complete_command)'
complete -c rx -n 'not __rx_after_machine' -s a -d 'run on all machines'
complete -c rx -n 'not __rx_after_machine' -s e -x -a none -d 'escape character'
complete -c rx -n 'not __rx_after_machine' -l json -d 'print JSON objects'
complete -c rx -n 'not __rx_after_machine' -s l -x -a '(__fish_complete_users)' -d 'user there'
complete -c rx -n 'not __rx_after_machine' -s n -d 'no input'
complete -c rx -n 'not __rx_after_machine' -s P -x -d 'machines at once'
complete -c rx -n 'not __rx_after_machine' -s s -d subsystem
complete -c rx -n 'not __rx_after_machine' -s T -d 'no terminal'
complete -c rx -n 'not __rx_after_machine' -s t -d 'a terminal'
complete -c rx -n 'not __rx_after_machine' -s V -l version -d 'the version'
complete -c rx -n 'not __rx_after_machine' -l help -d 'how to use it'
