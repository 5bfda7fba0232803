import Glibc
import Kernel
import Testing

@Suite struct UserNamespaceTests {
    @Test("A start that fails for want of descriptors leaves none open")
    func descriptors() async {
        await #expect(processExitsWith: .success) {
            func lowestFree() -> CInt {
                let descriptor = open("/dev/null", O_RDONLY)
                close(descriptor)
                return descriptor
            }
            let free = lowestFree()
            // Enough for the first of two pipes.
            var limit = rlimit(rlim_cur: rlim_t(free) + 3, rlim_max: 0)
            var before = rlimit()
            getrlimit(__rlimit_resource_t(7), &before)
            limit.rlim_max = before.rlim_max
            setrlimit(__rlimit_resource_t(7), &limit)
            do throws(UserNamespace.Failure) {
                try UserNamespace.probe(.single)
                exit(2)
            } catch {
                if lowestFree() != free { exit(3) }
            }
        }
    }
}
