internal import CKernel
internal import Glibc
package import SystemPackage

/// A block device backed by a file (loop(4)).
///
/// The kernel frees the device after its last user has closed it, this object and mounts included. So it is freed
/// however the process ends.
package final class LoopDevice: Sendable {
    /// E.g. `/dev/loop3`.
    package let path: FilePath
    private let file: File

    /// - Parameter readOnly: the file is never written to, whatever is mounted from the device.
    /// - Throws: ENOENT with the device's path if /dev is not a devtmpfs and has no node for it, EPERM without
    ///   CAP_SYS_ADMIN, EINVAL before kernel 5.8 (LOOP_CONFIGURE), EBUSY if other processes took every free device.
    package convenience init(of file: FilePath, readOnly: Bool) throws(SyscallFailure) {
        try self.init(
            of: try File.open(file, readOnly ? .read : .readWrite), name: file.lastComponent?.string ?? "",
            readOnly: readOnly)
    }

    /// - Parameters:
    ///   - backing: the open file, even if its name leads to another file by now.
    ///   - name: name that losetup(8) shows until the kernel reports the path.
    package init(of backing: borrowing File, name: String, readOnly: Bool) throws(SyscallFailure) {
        let raw = backing.raw
        let control = try File.open("/dev/loop-control", .readWrite)
        var attempt = 0
        while true {
            let number = try syscall("ioctl", "LOOP_CTL_GET_FREE") { ck_loop_free_number(control.raw) }
            let path = FilePath("/dev/loop\(number)")
            do throws(SyscallFailure) {
                let device = try File.open(path, readOnly ? .read : .readWrite)
                try syscall("ioctl", "\(path): LOOP_CONFIGURE") {
                    ck_loop_configure(device.raw, raw, name, readOnly ? 1 : 0)
                }
                self.path = path
                self.file = device
                return
            } catch {
                attempt += 1
                // Between the two calls another process may have taken the device (EBUSY), or removed it (ENXIO).
                let isLost = error.errno == .resourceBusy || error.errno == .noSuchAddressOrDevice
                guard isLost, attempt < Self.attempts else { throw error }
                Process.sleep(milliseconds: 1)
            }
        }
    }

    private static let attempts = 1000
}
