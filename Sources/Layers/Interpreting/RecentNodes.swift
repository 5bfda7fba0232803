/// A value that a node keeps while it was used recently.
struct Cached<Value> {
    fileprivate(set) var value: Value?
    /// Whether it was used since `RecentNodes` last looked.
    private(set) var wasUsed = false

    init(_ value: Value? = nil) { self.value = value }

    /// The value, marked as used.
    mutating func use() -> Value? {
        if value != nil { wasUsed = true }
        return value
    }

    mutating func clear() { value = nil }

    fileprivate mutating func resetUse() { wasUsed = false }
}

/// The nodes that keep a value of one kind, e.g. an open directory. Above the capacity, the value of the first node that was
/// not used recently is dropped (the clock algorithm).
struct RecentNodes<Storage, Value> {
    typealias Node = DirectoryNode<Storage>

    private let place: WritableKeyPath<Storage, Cached<Value>>
    private var nodes = [Node]()
    private var hand = 0

    init(_ place: WritableKeyPath<Storage, Cached<Value>>) { self.place = place }

    /// - Parameter capacity: values that are kept, the same number in each call.
    mutating func add(_ value: Value, to node: Node, capacity: Int) {
        node.storage[keyPath: place].value = value
        if nodes.count < capacity {
            nodes.append(node)
            return
        }
        while nodes[hand].storage[keyPath: place].wasUsed {
            nodes[hand].storage[keyPath: place].resetUse()
            hand = (hand + 1) % nodes.count
        }
        nodes[hand].storage[keyPath: place].clear()
        nodes[hand] = node
        hand = (hand + 1) % nodes.count
    }

    mutating func clear() {
        for node in nodes { node.storage[keyPath: place].clear() }
        nodes = []
        hand = 0
    }
}
