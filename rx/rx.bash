# Completion of rx(1) for bash: options, then machines that netman knows, then commands.

_rx_machines() {
	netman links --json 2>/dev/null | sed -n 's/.*"row":"link","machine":"\([^"]*\)".*/\1/p' | sort -u
}

_rx() {
	local cur=${COMP_WORDS[COMP_CWORD]} prefix= i word machine=
	COMPREPLY=()
	for ((i = 1; i < COMP_CWORD; i++)); do
		word=${COMP_WORDS[i]}
		case $word in
		-a) machine=all; break ;;
		-[lePbcDEFIiJLmOopQRSWw]) ((++i)) ;; # and its value
		-*) ;;
		*) machine=$word; break ;;
		esac
	done
	if [ "$i" -gt "$COMP_CWORD" ]; then # the value of an option
		case ${COMP_WORDS[COMP_CWORD - 1]} in
		-l) COMPREPLY=($(compgen -u -- "$cur")) ;;
		-[FiES]) COMPREPLY=($(compgen -f -- "$cur")) ;;
		-e) COMPREPLY=($(compgen -W 'none' -- "$cur")) ;;
		esac
		return
	fi
	if [ -n "$machine" ]; then
		# The first word is a command. Which files there are over there is not known; here they are often the same.
		if [ "$i" -ge $((COMP_CWORD - 1)) ]; then
			COMPREPLY=($(compgen -c -- "$cur"))
		else
			COMPREPLY=($(compgen -f -- "$cur"))
		fi
		return
	fi
	case $cur in
	-*)
		COMPREPLY=($(compgen -W '-a -e -l -n -P -s -T -t -tt -V --json --help --version' -- "$cur"))
		return
		;;
	*,*) prefix=${cur%,*}, cur=${cur##*,} ;;
	*@*) prefix=${cur%@*}@ cur=${cur##*@} ;;
	esac
	# Where @ breaks words for bash, what is before it stays as it is.
	[[ $prefix == *@ && $COMP_WORDBREAKS == *@* ]] && prefix=
	COMPREPLY=($(compgen -P "$prefix" -W "$(_rx_machines)" -- "$cur"))
}

complete -F _rx rx
