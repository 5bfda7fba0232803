/// A value that a node keeps while it is in use.
struct Cached<Value> {
    fileprivate(set) var value: Value?
    /// Whether it was used since `RecentNodes` last checked.
    private(set) var wasUsed = false

    init(_ value: Value? = nil) { self.value = value }

    /// Returns the value and marks it as used.
    mutating func use() -> Value? {
        if value != nil { wasUsed = true }
        return value
    }

    mutating func clear() { value = nil }

    fileprivate mutating func resetUse() { wasUsed = false }
}

/// The nodes that keep a value of one kind, e.g. an open directory. Above the capacity, the value of a node that was
/// not used recently is dropped (clock algorithm).
struct RecentNodes<Storage, Value> {
    typealias Node = DirectoryNode<Storage>

    private let keyPath: WritableKeyPath<Storage, Cached<Value>>
    private var nodes = [Node]()
    private var hand = 0

    init(_ keyPath: WritableKeyPath<Storage, Cached<Value>>) { self.keyPath = keyPath }

    /// - Parameter capacity: maximum number of values, the same in each call.
    mutating func add(_ value: Value, to node: Node, capacity: Int) {
        node.storage[keyPath: keyPath].value = value
        if nodes.count < capacity {
            nodes.append(node)
            return
        }
        while nodes[hand].storage[keyPath: keyPath].wasUsed {
            nodes[hand].storage[keyPath: keyPath].resetUse()
            hand = (hand + 1) % nodes.count
        }
        nodes[hand].storage[keyPath: keyPath].clear()
        nodes[hand] = node
        hand = (hand + 1) % nodes.count
    }

    mutating func clear() {
        for node in nodes { node.storage[keyPath: keyPath].clear() }
        nodes = []
        hand = 0
    }
}
