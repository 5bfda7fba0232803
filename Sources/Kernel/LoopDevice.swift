internal import CKernel
internal import Glibc
package import SystemPackage

/// A file as a block device (loop(4)).
///
/// The kernel frees the device when nobody has it open any more: neither this object nor a mount of it. So it goes by
/// itself however the process ends.
package final class LoopDevice: Sendable {
    /// E.g. `/dev/loop3`.
    package let path: FilePath
    private let file: File

    /// - Parameter readOnly: the file is never written to, whatever is mounted from the device.
    /// - Throws: ENOENT with the device's name where /dev is not the kernel's own (devtmpfs) and has no node for it,
    ///   EPERM without CAP_SYS_ADMIN, EINVAL before kernel 5.8 (LOOP_CONFIGURE), EBUSY where others are faster all the
    ///   time.
    package convenience init(of file: FilePath, readOnly: Bool) throws(SyscallFailure) {
        try self.init(
            of: try File.open(file, readOnly ? .read : .readWrite), name: file.lastComponent?.string ?? "",
            readOnly: readOnly)
    }

    /// - Parameters:
    ///   - backing: the open file: another one that has its name by now is not meant.
    ///   - name: what losetup(8) calls it until the kernel shows its path.
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
                // Free is what another process may have taken since; it is gone where one has removed it.
                let isLost = error.errno == .resourceBusy || error.errno == .noSuchAddressOrDevice
                guard isLost, attempt < Self.attempts else { throw error }
                Process.sleep(milliseconds: 1)
            }
        }
    }

    private static let attempts = 1000
}
