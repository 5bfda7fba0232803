// swift-tools-version: 6.3
import PackageDescription

/// Every target: Swift 6 with the upcoming features that keep interfaces honest; a warning is an error.
let common: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .treatAllWarnings(as: .error),
]

/// Modules that call C. Pointers stay inside them.
let unsafe = common

/// Modules without a pointer: the compiler refuses one, and `make check` searches for one.
let safe = common + [.strictMemorySafety()]

/// Test targets. In the optimized build of `make test` they are the only ones that are not optimized: that would take a
/// quarter of the time of the build.
let tests = common + [.unsafeFlags(["-Onone"], .when(configuration: .release))]

let argumentParser = Target.Dependency.product(name: "ArgumentParser", package: "swift-argument-parser")
let system = Target.Dependency.product(name: "SystemPackage", package: "swift-system")
let crypto = Target.Dependency.product(name: "Crypto", package: "swift-crypto")
let logging = Target.Dependency.product(name: "Logging", package: "swift-log")
let toml = Target.Dependency.product(name: "TOMLKit", package: "TOMLKit")
let grpc = Target.Dependency.product(name: "GRPCCore", package: "grpc-swift-2")
let grpcTransport = Target.Dependency.product(
    name: "GRPCNIOTransportHTTP2", package: "grpc-swift-nio-transport")
let grpcProtobuf = Target.Dependency.product(name: "GRPCProtobuf", package: "grpc-swift-protobuf")
let nioCore = Target.Dependency.product(name: "NIOCore", package: "swift-nio")
let nioEmbedded = Target.Dependency.product(name: "NIOEmbedded", package: "swift-nio")
let nioPosix = Target.Dependency.product(name: "NIOPosix", package: "swift-nio")
let http2 = Target.Dependency.product(name: "NIOHTTP2", package: "swift-nio-http2")
let protobuf = Target.Dependency.product(name: "SwiftProtobuf", package: "swift-protobuf")

let package = Package(
    name: "unpack",
    products: [
        .executable(name: "unpack", targets: ["unpack"]),
        .executable(name: "unpack-snapshotter", targets: ["unpack-snapshotter"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
        .package(url: "https://github.com/apple/swift-system", from: "1.8.1"),
        .package(url: "https://github.com/apple/swift-crypto", from: "4.5.2"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
        .package(url: "https://github.com/LebJe/TOMLKit", from: "0.6.0"),
        // Of unpack-snapshotter alone: the build of unpack never touches them.
        .package(url: "https://github.com/grpc/grpc-swift-2", from: "2.4.3"),
        .package(url: "https://github.com/grpc/grpc-swift-nio-transport", from: "2.9.2"),
        .package(url: "https://github.com/grpc/grpc-swift-protobuf", from: "2.4.1"),
        .package(url: "https://github.com/apple/swift-nio", from: "2.101.2"),
        .package(url: "https://github.com/apple/swift-nio-http2", from: "1.46.0"),
        .package(url: "https://github.com/apple/swift-protobuf", from: "1.39.0", traits: []),
    ],
    targets: [
        // C libraries of the system.
        .systemLibrary(name: "CArchive", pkgConfig: "libarchive", providers: [.apt(["libarchive-dev"])]),
        .systemLibrary(name: "CZstd", pkgConfig: "libzstd", providers: [.apt(["libzstd-dev"])]),
        .systemLibrary(name: "CISAL", pkgConfig: "libisal", providers: [.apt(["libisal-dev"])]),
        .systemLibrary(name: "CSQLite", pkgConfig: "sqlite3", providers: [.apt(["libsqlite3-dev"])]),
        .target(name: "CKernel"),

        // The modules, bottom up. A module imports only modules above it; `docs/architecture.md` has the table.
        .target(
            name: "Kernel", dependencies: ["CKernel", system],
            // `make test` also defines it, for its optimized build.
            swiftSettings: unsafe + [.define("FAULT_POINTS", .when(configuration: .debug))]),
        .target(name: "OCI", dependencies: [crypto], swiftSettings: safe),
        .target(name: "Erofs", swiftSettings: safe),
        .target(name: "Streams", dependencies: ["CKernel", "Kernel", "OCI", crypto], swiftSettings: unsafe),
        .target(name: "Compression", dependencies: ["CZstd", "CISAL"], swiftSettings: unsafe),
        .target(name: "Archive", dependencies: ["CArchive", "Kernel", "Streams"], swiftSettings: unsafe),
        .target(
            name: "Layout", dependencies: ["OCI", "Kernel", "Streams", "Compression", "Archive", system],
            swiftSettings: safe),
        .target(
            name: "TreeRecords", dependencies: ["Compression", "OCI", "Streams", "Kernel"],
            swiftSettings: safe),
        .target(
            name: "ErofsFiles", dependencies: ["Erofs", "TreeRecords", "OCI", "Streams", "Kernel", system],
            swiftSettings: safe),
        .target(
            name: "Layers",
            dependencies: [
                "OCI", "Layout", "Archive", "Compression", "Erofs", "ErofsFiles", "Streams", "Kernel",
            ],
            swiftSettings: safe),
        .target(name: "SQLite", dependencies: ["CSQLite", system], swiftSettings: unsafe),
        .target(name: "Mounts", dependencies: ["Streams", "Kernel", system], swiftSettings: safe),
        .target(name: "RegularExpressions", swiftSettings: safe),
        .target(
            name: "Snapshots",
            dependencies: [
                "RegularExpressions", "TreeRecords", "Erofs", "ErofsFiles", "OCI", "Mounts", "Streams",
                "Kernel",
                "SQLite", system,
            ],
            swiftSettings: safe),
        .target(
            name: "Unpacking",
            dependencies: [
                "OCI", "Kernel", "Archive", "Compression", "Streams", "ErofsFiles", "Layout", "Layers",
                "Mounts",
                "TreeRecords", "Snapshots", logging, system,
            ],
            swiftSettings: safe),
        .target(
            name: "Programs",
            dependencies: [
                "Unpacking", "Snapshots", "Archive", "Compression", "Streams", "OCI", "Kernel",
                argumentParser, logging, system, toml,
            ],
            swiftSettings: safe),
        .executableTarget(
            name: "unpack",
            dependencies: [
                "Programs", "Unpacking", "Snapshots", "Mounts", "OCI", "Kernel", argumentParser, system,
            ],
            swiftSettings: safe),

        // The same store for containerd, over gRPC.
        .target(
            name: "ContainerdAPI", dependencies: [grpc, grpcProtobuf, protobuf],
            exclude: ["Protocols"], swiftSettings: common),
        .target(
            name: "Serving",
            dependencies: [
                "ContainerdAPI", "Unpacking", "Snapshots", "Mounts", "Layout", "Streams", "OCI", "Kernel",
                grpc, grpcTransport, protobuf, nioCore, nioPosix, http2, system,
            ],
            swiftSettings: safe),
        .executableTarget(
            name: "unpack-snapshotter",
            dependencies: [
                "Programs", "Serving", "Unpacking", "Snapshots", "Streams", "Kernel", argumentParser, system,
            ],
            swiftSettings: safe),

        // Tests. What they share is a target of its own.
        .target(
            name: "TestSupport",
            dependencies: [
                "Archive", "Erofs", "ErofsFiles", "Kernel", "Layers", "Layout", "OCI", "Streams", system,
            ],
            path: "Tests/TestSupport",
            swiftSettings: common),
        .testTarget(
            name: "KernelTests", dependencies: ["Kernel", "TestSupport", system], swiftSettings: tests),
        .testTarget(
            name: "ErofsTests",
            dependencies: ["Erofs", "ErofsFiles", "Kernel", "OCI", "Streams", "TestSupport", system],
            swiftSettings: tests),
        .testTarget(name: "OCITests", dependencies: ["OCI", "TestSupport"], swiftSettings: tests),
        .testTarget(
            name: "SQLiteTests", dependencies: ["SQLite", "Streams", "TestSupport", system],
            swiftSettings: tests),
        .testTarget(
            name: "StreamsTests", dependencies: ["Streams", "OCI", "TestSupport"], swiftSettings: tests),
        .testTarget(
            name: "CompressionTests", dependencies: ["Compression", "TestSupport"], swiftSettings: tests),
        .testTarget(
            name: "ArchiveTests", dependencies: ["Archive", "Streams", "Kernel", "TestSupport", system],
            swiftSettings: tests),
        .testTarget(
            name: "LayoutTests", dependencies: ["Layout", "OCI", "Streams", "Kernel", "TestSupport", system],
            swiftSettings: tests),
        .testTarget(
            name: "LayersTests",
            dependencies: [
                "Layers", "Layout", "OCI", "Streams", "Archive", "Compression", "Mounts", "Kernel",
                "TestSupport",
                system,
            ],
            swiftSettings: tests),
        .testTarget(
            name: "MountsTests",
            dependencies: ["Erofs", "Mounts", "Streams", "Kernel", "TestSupport", system],
            swiftSettings: tests),
        .testTarget(
            name: "RegularExpressionsTests", dependencies: ["RegularExpressions"], swiftSettings: tests),
        .testTarget(
            name: "TreeRecordsTests",
            dependencies: [
                "Compression", "TreeRecords", "OCI", "Streams", "Kernel", "TestSupport", system,
            ],
            swiftSettings: tests),
        .testTarget(
            name: "SnapshotsTests",
            dependencies: [
                "RegularExpressions", "Snapshots", "Mounts", "OCI", "Streams", "Kernel", "TestSupport",
                system,
            ],
            swiftSettings: tests),
        .testTarget(
            name: "UnpackingTests",
            dependencies: [
                "Unpacking", "Snapshots", "Mounts", "Layers", "Layout", "Streams", "OCI", "Kernel",
                "TestSupport",
                logging, system,
            ],
            swiftSettings: tests),
        .testTarget(
            name: "ServingTests",
            dependencies: [
                "unpack-snapshotter", "unpack", "Serving", "ContainerdAPI", "Erofs", "ErofsFiles", "Streams",
                "Kernel", "TestSupport",
                grpc, grpcTransport, protobuf, nioCore, nioEmbedded, system,
            ],
            swiftSettings: tests),
        .testTarget(
            name: "CommandTests", dependencies: ["unpack", "OCI", "Kernel", "Mounts", "TestSupport", system],
            swiftSettings: tests),
    ]
)

// `make fuzz` asks for these; nothing else sees them. libFuzzer brings their `main`.
if Context.environment["UNPACK_FUZZ"] != nil {
    func fuzzer(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
        .executableTarget(
            name: name, dependencies: ["Fuzzing", "TestSupport"] + dependencies,
            path: "Tests/Fuzzing/\(name)",
            swiftSettings: common + [.unsafeFlags(["-parse-as-library"])])
    }
    package.targets += [
        .systemLibrary(name: "CFuzzer", path: "Tests/Fuzzing/CFuzzer"),
        .target(
            name: "Fuzzing", dependencies: ["CFuzzer", "TestSupport"], path: "Tests/Fuzzing/Fuzzing",
            swiftSettings: common),
        fuzzer("FuzzTar", ["Archive", "Streams", "Kernel"]),
        fuzzer("FuzzLayers", ["Layers", "Layout", "Mounts", "OCI", "Streams", "Kernel", system]),
        fuzzer("FuzzStreams", ["Compression", "Kernel"]),
        fuzzer("FuzzDocuments", ["OCI"]),
        fuzzer("FuzzErofs", ["Erofs"]),
    ]
}

// `make bench-micro` asks for these, and for what they bring with them.
// `make check` only compiles them, without the plugin, whose tools take longer.
if let wanted = Context.environment["UNPACK_BENCHMARKS"] {
    package.dependencies += [
        .package(url: "https://github.com/ordo-one/benchmark", from: "1.38.1", traits: [])
    ]
    package.targets += [
        .executableTarget(
            name: "Stages",
            dependencies: [
                "Archive", "Compression", "Kernel", "Layers", "Layout", "OCI", "Streams", "TestSupport",
                system,
                .product(name: "Benchmark", package: "benchmark"),
            ],
            path: "Tests/Benchmarks/Stages",
            swiftSettings: [.swiftLanguageMode(.v6)],
            plugins: wanted == "compile" ? [] : [.plugin(name: "BenchmarkPlugin", package: "benchmark")])
    ]
}
