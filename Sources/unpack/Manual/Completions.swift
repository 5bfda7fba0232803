internal import Programs

/// The completions of a command line. The shell scripts call the program for them, so that all shells offer the same.
struct Completions {
    /// The first argument of a completion request. The words of the command line follow, up to that of the cursor.
    static let request = "---complete"

    /// `candidate<TAB>description`, or a request to the shell to complete paths: `:files`, `:directories`.
    let lines: [String]

    /// - Parameters:
    ///   - words: without the program's name. The last one is completed, and may be empty.
    ///   - names: what the store and layouts offer for an argument.
    init(
        _ words: [String], in tree: CommandTree,
        names: (CommandTree.Argument, CommandWords, _ current: String) -> [String] = { _, _, _ in [] }
    ) {
        let words = Self.joined(words)
        let current = words.last == "=" ? "" : words.last ?? ""
        // bash splits `--option=value` at the `=` (COMP_WORDBREAKS).
        let before = CommandWords(words.dropLast().filter { $0 != "=" }, in: tree)
        let command = before.command
        func values(_ argument: CommandTree.Argument) -> [String] {
            names(argument, before, current).map { $0 + "\t" } + Self.values(of: argument.completion, current)
        }
        if let (pending, _) = before.pending {
            lines = values(pending)
        } else if current.hasPrefix("-"), !before.isAfterTerminator {
            lines = Self.options(of: command, current)
        } else {
            let places = command.positionals
            let count = before.positionals.count
            let place = count < places.count ? places[count] : places.last { $0.isRepeating }
            // A command follows directly.
            let isFirst = words.count == command.words.count
            lines = (isFirst ? Self.subcommands(of: command, current) : []) + (place.map(values) ?? [])
        }
    }

    /// The words as they were typed: bash splits `image:debian` at the colon (COMP_WORDBREAKS).
    private static func joined(_ words: [String]) -> [String] {
        var result = [String]()
        var joins = false
        for word in words {
            if word == ":" || joins, let last = result.popLast() {
                result.append(last + word)
            } else {
                result.append(word)
            }
            joins = word == ":"
        }
        return result
    }

    private static func subcommands(of command: CommandTree, _ current: String) -> [String] {
        command.subcommands.compactMap { subcommand in
            guard let name = subcommand.words.last, name.hasPrefix(current) else { return nil }
            return "\(name)\t\(subcommand.abstract)"
        }
    }

    private static func options(of command: CommandTree, _ current: String) -> [String] {
        let named = command.arguments.filter { $0.kind != .positional }
        if let end = current.firstIndex(of: "=") {
            guard let option = named.first(where: { $0.names.contains(String(current[..<end])) }),
                case .list(let values) = option.completion
            else { return [] }
            return values.map { "\(current[...end])\($0)\t" }.filter { $0.hasPrefix(current) }
        }
        return named.flatMap { argument in
            argument.names.filter { $0.hasPrefix(current) }.map { name in
                // Only the first sentence: shells show it beside the candidate.
                let end = argument.abstract.firstRange(of: ". ")?.lowerBound ?? argument.abstract.endIndex
                return "\(name)\t\(argument.abstract[..<end])"
            }
        }
    }

    private static func values(of completion: CommandTree.Completion, _ current: String) -> [String] {
        switch completion {
        case .anything: []
        case .list(let values): values.filter { $0.hasPrefix(current) }.map { $0 + "\t" }
        case .file: [":files"]
        case .directory: [":directories"]
        }
    }
}

/// The completion scripts, which call the program for candidates (`Completions`).
enum CompletionScript: String, CaseIterable {
    case bash, zsh, fish

    /// The flag that ArgumentParser uses for its own scripts.
    static let flag = "--generate-completion-script"

    /// The script that a command line requests.
    ///
    /// - Returns: nil if it requests none; `.some(nil)` if there is no script for that shell.
    static func requested(by arguments: [String]) -> CompletionScript?? {
        guard let first = arguments.first, first.hasPrefix(flag) else { return nil }
        let shell = first == flag ? arguments.dropFirst().first : String(first.dropFirst(flag.count + 1))
        return .some(shell.flatMap { CompletionScript(rawValue: $0) })
    }

    var text: String {
        switch self {
        case .bash: Self.bashText
        case .zsh: Self.zshText
        case .fish: Self.fishText
        }
    }

    private static let bashText = #"""
        # bash completion for unpack(1), which itself prints the candidates.
        _unpack() {
            local line current=${COMP_WORDS[COMP_CWORD]} IFS=$'\n'
            [[ $current != = ]] || current=
            # bash completes only what follows the last colon of a word, if it splits words there.
            local typed=${COMP_LINE:0:COMP_POINT} before=
            typed=${typed##* }
            [[ $COMP_WORDBREAKS != *:* ]] || before=${typed%"${typed##*:}"}
            COMPREPLY=()
            for line in $("$1" \#(Completions.request) "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null); do
                case $line in
                :files)
                    compopt -o filenames 2>/dev/null
                    COMPREPLY+=($(compgen -f -- "$current"))
                    ;;
                :directories)
                    compopt -o filenames 2>/dev/null
                    COMPREPLY+=($(compgen -d -- "$current"))
                    ;;
                *)
                    line=${line%%$'\t'*}
                    COMPREPLY+=("${line#"$before"}")
                    ;;
                esac
            done
        }
        complete -F _unpack unpack
        """#

    private static let zshText = #"""
        #compdef unpack
        # zsh completion for unpack(1), which itself prints the candidates.
        _unpack() {
            local line ret=1
            local -a candidates
            for line in "${(@f)$("${(Q)words[1]}" \#(Completions.request) "${(@Q)words[2,CURRENT]}" 2>/dev/null)}"; do
                case $line in
                '') ;;
                :files) _files && ret=0 ;;
                :directories) _files -/ && ret=0 ;;
                *) candidates+=("${${line%%$'\t'*}//:/\\:}:${line#*$'\t'}") ;;
                esac
            done
            if (( $#candidates )); then
                _describe -V unpack candidates && ret=0
            fi
            return ret
        }
        if [[ $funcstack[1] = _unpack ]]; then
            _unpack "$@"
        else
            compdef _unpack unpack
        fi
        """#

    private static let fishText = #"""
        # fish completion for unpack(1), which itself prints the candidates.
        function __unpack_complete
            set -l words (commandline -opc)
            set -l current (commandline -ct)
            for line in (command $words[1] \#(Completions.request) $words[2..] "$current" 2>/dev/null)
                switch $line
                    case :files
                        __fish_complete_path "$current"
                    case :directories
                        __fish_complete_directories "$current" ''
                    case '*'
                        echo $line
                end
            end
        end
        complete -c unpack -f -a '(__unpack_complete)'
        """#
}
