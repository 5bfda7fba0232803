import RegularExpressions
import Snapshots
import Testing

private struct Sample: CustomTestStringConvertible {
    let name: String
    var parent: String?
    var kind = SnapshotInfo.Kind.committed
    var labels = [String: String]()
    var testDescription: String { name }

    func field(_ path: [String]) -> String? {
        SnapshotFilter.field(path, name: name, parent: parent, kind: kind, labels: labels)
    }
}

/// The snapshot that the filters of the tables are applied to.
private let samples = [
    Sample(name: "base", labels: ["foo": "true", "containerd.io/gc.root": "x"]),
    Sample(name: "top", parent: "base", labels: ["foo": "omg_asdf.asdf-qwer", "a.b.c": "dotted"]),
    Sample(
        name: "work", parent: "top", kind: .active, labels: ["with \\ and \"": "quoted, yes", "empty": ""]),
    Sample(name: "look", parent: "top", kind: .view, labels: ["accent": "caf\u{E9}", "lines": "one\ntwo"]),
]

private struct Question: CustomTestStringConvertible {
    let filter: String
    let names: [String]
    var testDescription: String { filter }

    init(_ filter: String, _ names: String...) {
        self.filter = filter
        self.names = names
    }
}

private let questions = [
    // Everything.
    Question("", "base", "top", "work", "look"),
    // Presence.
    Question("name", "base", "top", "work", "look"),
    Question("parent", "base", "top", "work", "look"),
    Question("labels.foo", "base", "top"),
    Question("labels.empty", "work"),
    Question("labels"),
    Question("nothing"),
    Question("\"name\"", "base", "top", "work", "look"),
    // Equality and absent fields.
    Question("name==top", "top"),
    Question("name!=top", "base", "work", "look"),
    Question("kind==active", "work"),
    Question("kind==view", "look"),
    Question("kind==committed", "base", "top"),
    Question("parent==top", "work", "look"),
    Question("parent!=top", "base", "top"),
    Question("labels.foo==true", "base"),
    Question("labels.foo!=true", "top", "work", "look"),
    Question("parent==\"\"", "base"),
    Question("parent!=\"\"", "top", "work", "look"),
    Question("labels.empty==\"\"", "work"),
    Question("nothing==x"),
    Question("nothing!=x", "base", "top", "work", "look"),
    // Values: characters without comma and white space.
    Question("labels.foo==omg_asdf.asdf-qwer", "top"),
    Question("labels.accent==caf\u{E9}", "look"),
    Question("labels.accent==cafe\u{301}"),
    Question("name==a/b|c\"d=e"),
    // Quoted parts, re-joined parts.
    Question("labels.\"containerd.io/gc.root\"==x", "base"),
    Question("labels.\"containerd\".\"io/gc\".root==x", "base"),
    Question("labels.a.b.c==dotted", "top"),
    Question("labels.\"a.b\".c", "top"),
    Question(#"labels."with \\ and \""=="quoted, yes""#, "work"),
    // Escapes.
    Question(#"name=="\x74\157\u0070""#, "top"),
    Question(#"name=="\U00000074op""#, "top"),
    Question(#"labels.lines=="one\ntwo""#, "look"),
    Question(#"labels.accent=="caf\xc3\xa9""#, "look"),
    Question(#"labels.accent=="caf\303\251""#, "look"),
    Question(#"name!="\a\b\f\n\r\t\v""#, "base", "top", "work", "look"),
    // Regular expressions: match anywhere; absent fields are empty.
    Question("name~=o", "top", "work", "look"),
    Question("name~=^.o", "top", "work", "look"),
    Question("name~=^o$"),
    Question("name~=o+k,kind==view", "look"),
    Question("parent~=^$", "base"),
    Question("labels.foo~=/[a-z]{4,4}/", "base", "top"),
    Question("labels.foo~=|^(true,.)?omg|", "top"),
    Question(#"labels.foo~="\\.asdf""#, "top"),
    Question(#"labels."containerd.io/gc.root"~=/x/"#, "base"),
    Question(#"name~=/\//"#),
    Question(#"labels.accent~=^caf.$"#, "look"),
    Question(#"labels.accent~=^\\w+$"#),
    Question(#"labels.accent~=^\w+$"#),
    Question("name~=(?i)TOP", "top"),
    // All selectors have to match.
    Question("kind==committed,labels.foo", "base", "top"),
    Question("kind==committed,labels.foo==true,name~=s", "base"),
    Question("kind==committed,kind==view"),
    // White space before parts, operators and values.
    Question(" name == top", "top"),
    Question("labels. foo ==\ttrue, name != top", "base"),
    Question("name== \"top\",\n kind==committed", "top"),
]

@Test(arguments: questions)
private func filtersAsContainerdDoes(_ question: Question) throws {
    let filter = try SnapshotFilter(parsing: question.filter)
    var budget = StepBudget(steps: SnapshotFilter.maximumSteps)
    #expect(try samples.filter { try filter.matches(&budget, $0.field) }.map(\.name) == question.names)
}

private let malformed: [(filter: String, byte: Int)] = [
    ("name==foo,", 10), ("labels.", 7), (",name", 0), ("name,,kind", 5), (".name", 0), ("labels..foo", 7),
    (" ", 1), ("name ", 5), ("name==foo ", 9), ("name==foo bar", 9), ("name ,kind", 5),
    ("labels.?x==y", 7), ("labels.ns/key==value", 9), ("labels.|foo|==x", 7), ("labels./foo/==x", 7),
    ("labels.a-b", 8), ("caf\u{E9}==x", 3), ("labels.\"\u{E9}\"x", 11),
    ("name=foo", 4), ("name===foo", 4), ("name=~foo", 4), ("name<foo", 4), ("name~foo", 4), ("name!foo", 4),
    ("name==", 6), ("image~=,id?=?fbaq", 7), ("name==.x", 6), ("name== =x", 7), ("name==\u{1}", 6),
    ("name==a\u{1}", 7), ("name==\u{0}", 6),
    ("name==/top/", 6), ("name!=|top|", 6), ("labels.key~=/value", 18),
    ("name==\"top", 10), ("name==\"top\n\"", 10), ("name==\"top\"x", 11), ("name==\"a\u{0}\"", 8),
    (#"name=="\q""#, 7), (#"name=="\'""#, 7), (#"name=="\/""#, 7), (#"name~=/\d/"#, 7), (#"name~=/\"/"#, 7),
    (#"name=="\x1""#, 7), (#"name=="\xgg""#, 7), (#"name=="\08""#, 7), (#"name=="\400""#, 7),
    (#"name=="\u12""#, 7), (#"name=="\ud800""#, 7), (#"name=="\U00110000""#, 7), (#"name=="\xff""#, 6),
    (#"name=="\"#, 8 - 1),
    ("name~=(", 6), ("name~=[a", 6), ("kind,name~=\"a{2,1}\"", 11), ("name~=*", 6),
]

@Test(arguments: malformed)
private func reportsTheOffsetOfTheError(_ filter: String, _ byte: Int) {
    do {
        _ = try SnapshotFilter(parsing: filter)
        Issue.record("it was taken")
    } catch {
        #expect(error.kind == .invalidArgument)
        #expect(error.description.contains(" at byte \(byte): expected "), "\(error)")
        #expect(!error.description.contains("\u{0}") && !error.description.contains("\n"))
    }
}

@Test private func oneOfSeveralFiltersHasToMatch() throws {
    let filters = try ["name==top", "kind==active,parent"].map { try SnapshotFilter(parsing: $0) }
    func found(_ filters: [SnapshotFilter]) throws -> [String] {
        var budget = StepBudget(steps: SnapshotFilter.maximumSteps)
        return try samples.filter { try SnapshotFilter.any(filters, &budget, $0.field) }.map(\.name)
    }
    #expect(try found(filters) == ["top", "work"])
    #expect(try found([]) == samples.map(\.name))
    #expect(try found([try SnapshotFilter(parsing: "nothing")]) == [])
    #expect(try found(filters + [try SnapshotFilter(parsing: "")]) == samples.map(\.name))
}

// MARK: Limits

@Test(arguments: [
    // The costs of a step, of the lookup of a scalar, of a program, of the lookup of a field.
    ("name~=(a?){900}(a?){900}b", String(repeating: "a", count: 4096), 1_000_000),
    ("name~=(?i)\\p{Lu}b", String(repeating: "\u{1E9E}", count: 4096), 100_000),
    (#"name~="|a{1000}b{1000}c{1000}""#, "a", 100), ("name,name,name,name", "a", 40),
])
private func stopsFiltersWhenTheBudgetIsSpent(_ filter: String, _ name: String, _ steps: Int) throws {
    let filters = try SnapshotFilter.parse([filter])
    var budget = StepBudget(steps: steps)
    #expect {
        _ = try SnapshotFilter.any(filters, &budget, Sample(name: name).field)
    } throws: {
        ($0 as? StoreFailure)?.kind == .resourceExhausted
    }
}

@Test private func allFiltersAndSnapshotsOfACallShareOneBudget() throws {
    let filters = try SnapshotFilter.parse(["name~=x$", "name~=y$"])
    let sample = Sample(name: String(repeating: "a", count: 100))
    var budget = StepBudget(steps: 10_000)
    _ = try SnapshotFilter.any(filters, &budget, sample.field)
    let cost = 10_000 - budget.steps
    #expect(cost > 500)
    #expect(throws: StoreFailure.self) {
        for _ in 0...(10_000 / cost) { _ = try SnapshotFilter.any(filters, &budget, sample.field) }
    }
}

@Test(arguments: [
    "name~=sha256:0", "name~=nginx|alpine|debian|ubuntu|redis|postgres|mysql|busybox|node|python",
    "name~=(?i)nginx.*alpine", #"name~=^(k8s\.io|default)/[0-9]+/(sha256|sha512):[0-9a-f]{64}$"#,
    "kind==committed,labels.a==b,parent!=c",
])
private func sharesABudgetThatIsEnoughForTenThousandSnapshots(_ filter: String) throws {
    let filters = try SnapshotFilter.parse([filter])
    let sample = Sample(name: "default/1234/sha256:" + String(repeating: "d", count: 63) + "x")
    var budget = StepBudget(steps: SnapshotFilter.maximumSteps)
    _ = try SnapshotFilter.any(filters, &budget, sample.field)
    #expect((SnapshotFilter.maximumSteps - budget.steps) * 10_000 < SnapshotFilter.maximumSteps)
}

@Test(arguments: [
    Array(repeating: "name", count: SnapshotFilter.maximumCount + 1),
    [String(repeating: "n", count: SnapshotFilter.maximumLength + 1)],
    Array(repeating: String(repeating: "n", count: SnapshotFilter.maximumLength / 2 + 1), count: 2),
])
private func refusesFiltersThatAreTooManyOrTooLong(_ filters: [String]) {
    #expect { try SnapshotFilter.parse(filters) } throws: {
        ($0 as? StoreFailure)?.kind == .invalidArgument
    }
}

// MARK: Labels

@Test private func keepsLabelsThatHaveAValueAndAreNotTooLong() throws {
    let most = String(repeating: "v", count: SnapshotLabels.maximumLength - 1)
    #expect(try SnapshotLabels.stored(of: ["k": most, "gone": ""]) == ["k": most])
    // The limits are in bytes, not in characters.
    let accents = String(repeating: "\u{E9}", count: SnapshotLabels.maximumLength / 2)
    for labels in [["k": most + "v"], ["k": accents], ["": "value"], [most + "kk": ""]] {
        #expect { try SnapshotLabels.stored(of: labels) } throws: {
            ($0 as? StoreFailure)?.kind == .invalidArgument
        }
    }
}

private let current = ["a": "1", "b": "2", "dotted.key": "3"]

private let updates: [(fields: [String], new: [String: String], result: [String: String])] = [
    ([], ["c": "4"], ["c": "4"]),
    ([], [:], [:]),
    (["labels"], ["c": "4", "d": ""], ["c": "4"]),
    (["labels.a"], ["a": "9", "c": "4"], ["a": "9", "b": "2", "dotted.key": "3"]),
    (["labels.a"], ["c": "4"], ["b": "2", "dotted.key": "3"]),
    (["labels.a"], ["a": ""], ["b": "2", "dotted.key": "3"]),
    (["labels.dotted.key", "labels.c"], ["c": "4"], ["a": "1", "b": "2", "c": "4"]),
    (["labels.none"], [:], current),
]

@Test(arguments: updates)
private func updatesTheNamedLabels(
    _ fields: [String], _ new: [String: String], _ result: [String: String]
) throws {
    #expect(try SnapshotLabels.updating(current, to: new, fields: fields) == result)
}

@Test(arguments: ["name", "parent", "kind", "created", "updated", "label", "labels_", "Labels", ""])
private func updatesNothingButLabels(_ field: String) {
    #expect { try SnapshotLabels.updating(current, to: current, fields: ["labels.a", field]) } throws: {
        ($0 as? StoreFailure)?.kind == .invalidArgument
    }
}
