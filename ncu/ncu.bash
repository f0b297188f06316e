# Completion of ncu(1) for bash: options, then machines that netman knows.

_ncu() {
	local cur=${COMP_WORDS[COMP_CWORD]}
	COMPREPLY=()
	case ${COMP_WORDS[COMP_CWORD - 1]} in
	-l)
		COMPREPLY=($(compgen -u -- "$cur"))
		return
		;;
	-e)
		COMPREPLY=($(compgen -W none -- "$cur"))
		return
		;;
	esac
	case $cur in
	-*) COMPREPLY=($(compgen -W '-e -l -r -V --help --version' -- "$cur")) ;;
	*) COMPREPLY=($(compgen -W "$(netman links --json 2>/dev/null | sed -n 's/.*"row":"link","machine":"\([^"]*\)".*/\1/p' | sort -u)" -- "${cur##*@}")) ;;
	esac
}

complete -F _ncu ncu
