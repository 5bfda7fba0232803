internal import Programs

/// The completions of a command line. The shell scripts call the program for them, so that all shells offer the same.
struct Completions {
    /// The first argument of a completion request. The words of the command line follow, up to that of the cursor.
    static let request = "---complete"

    /// `candidate<TAB>description`, or a request to the shell to complete paths: `:files`, `:directories`.
    let lines: [String]

    /// - Parameter words: without the program's name. The last one is completed, and may be empty.
    init(_ words: [String], in tree: CommandTree) {
        // bash splits `--option=value` at the `=` (COMP_WORDBREAKS).
        var before = words.dropLast().filter { $0 != "=" }[...]
        let current = words.last == "=" ? "" : words.last ?? ""
        var command = tree
        var positionals = 0
        var pending: CommandTree.Argument?
        var onlyPositionals = false
        while let word = before.popFirst() {
            if pending != nil {
                pending = nil
            } else if onlyPositionals || !word.hasPrefix("-") || word == "-" {
                if positionals == 0, let next = command.subcommands.first(where: { $0.words.last == word }) {
                    command = next
                } else {
                    positionals += 1
                }
            } else if word == "--" {
                onlyPositionals = true
            } else if !word.contains("=") {
                pending = command.arguments.first { $0.kind == .option && $0.names.contains(word) }
            }
        }
        if let pending {
            lines = Self.values(of: pending.completion, current)
        } else if current.hasPrefix("-"), !onlyPositionals {
            lines = Self.options(of: command, current)
        } else {
            let places = command.arguments.filter { $0.kind == .positional }
            let place = positionals < places.count ? places[positionals] : places.last { $0.isRepeating }
            lines =
                (positionals == 0 ? Self.subcommands(of: command, current) : [])
                + (place.map { Self.values(of: $0.completion, current) } ?? [])
        }
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
                *) COMPREPLY+=("${line%%$'\t'*}") ;;
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
