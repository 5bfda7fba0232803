// System calls that Swift cannot import from libc: variadic functions, function-like macros, and functions that the
// Glibc module hides. Every function returns its value, or -errno.
//
// The bodies are in CKernel.c because they need _GNU_SOURCE: a module that defines it has other libc types than all
// other modules.
#pragma once
#include <dirent.h>
#include <signal.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

// Opening -----------------------------------------------------------------------------------------------------

int ck_openat(int directory, const char *path, int flags, uint32_t mode);

/// openat2(2), kernel >= 5.6.
int ck_openat2(int directory, const char *path, int flags, uint64_t resolve);

int ck_close(int descriptor);

/// Duplicates a descriptor; the number is above the standard streams (fcntl(2), F_DUPFD_CLOEXEC).
int ck_duplicate(int descriptor);

/// Opens an unnamed file for reading and writing (open(2), O_TMPFILE); on a file system without O_TMPFILE, a named one
/// that is unlinked at once.
int ck_temporary(const char *folder);
int ck_temporary_at(int d);

// Names in a directory ----------------------------------------------------------------------------------------

int ck_mkdirat(int d, const char *n, uint32_t mode);
int ck_symlinkat(const char *target, int d, const char *n);
int ck_linkat(int fd, const char *from, int td, const char *to);
int ck_unlinkat(int d, const char *n, int flags);
int ck_fstatat(int d, const char *n, struct stat *s, int flags);
int ck_fstat(int d, struct stat *s);
int ck_mknodat(int d, const char *n, uint32_t mode, uint32_t major_, uint32_t minor_);
static const unsigned ck_rename_noreplace = 1;
static const unsigned ck_rename_exchange = 2;
int ck_renameat2(int fd, const char *from, int td, const char *to, unsigned flags);
ssize_t ck_readlinkat(int d, const char *n, char *buffer, size_t size);
unsigned ck_major(dev_t device);
unsigned ck_minor(dev_t device);

/// Reads the next directory entries (getdents64(2)); returns 0 after the last one.
ssize_t ck_getdents(int d, void *records, size_t size);

// Metadata ----------------------------------------------------------------------------------------------------

int ck_fchown(int d, uint32_t uid, uint32_t gid);
int ck_fchownat(int d, const char *n, uint32_t uid, uint32_t gid);
int ck_fchmod(int d, uint32_t mode);
int ck_chmod(const char *path, uint32_t mode);
int ck_futimens(int d, const struct timespec times[2]);
int ck_utimensat(int d, const char *n, const struct timespec times[2]);
int ck_fsetxattr(int d, const char *n, const void *v, size_t size);
int ck_lsetxattr(const char *p, const char *n, const void *v, size_t size);
ssize_t ck_fgetxattr(int d, const char *n, void *v, size_t size);
ssize_t ck_lgetxattr(const char *p, const char *n, void *v, size_t size);
ssize_t ck_flistxattr(int d, char *list, size_t size);
ssize_t ck_llistxattr(const char *p, char *list, size_t size);
int ck_fremovexattr(int d, const char *n);

// File content ------------------------------------------------------------------------------------------------

ssize_t ck_read(int d, void *buffer, size_t size);
ssize_t ck_write(int d, const void *buffer, size_t size);
ssize_t ck_pwrite(int d, const void *buffer, size_t size, int64_t offset);
ssize_t ck_pread(int d, void *buffer, size_t size, int64_t offset);
int ck_ftruncate(int d, int64_t size);
int64_t ck_seek_data(int d, int64_t offset);
int64_t ck_seek_hole(int d, int64_t offset);
ssize_t ck_copy_file_range(int from, int64_t *from_offset, int to, int64_t *to_offset, size_t size);

/// Shares all extents of `from` with `to` (ioctl_ficlone(2)).
int ck_clone(int to, int from);

/// FS_*_FL (ioctl_iflags(2)), and FS_XFLAG_*, project and extent size hints (ioctl_xfs_fsgetxattr(2)).
struct ck_inode_settings {
    uint32_t flags, extended_flags, project, extent_size, shared_extent_size;
};
/// Reports 0 for each setting that the file system does not support.
int ck_inode_settings(int d, struct ck_inode_settings *settings);
/// Sets only the values that differ from the current ones.
int ck_set_inode_settings(int d, const struct ck_inode_settings *wanted);
int ck_fsync(int d);
int ck_syncfs(int d);

/// fs-verity (kernel: Documentation/filesystems/fsverity.rst) with SHA-256, blocks of 4096 bytes and no salt.
///
/// Both return 1, or 0 if the file has no fs-verity: the kernel or the file system does not support it, or demands a
/// signature. To enable it, `d` must be open for reading, and no process may have the file open for writing (ETXTBSY).
int ck_enable_verity(int d);
int ck_verity_digest(int d, uint8_t digest[32]);

/// Free bytes of a file system, with or without the blocks reserved for root (statfs(2)).
int64_t ck_free_bytes(int d, int with_reserved);

/// Free inodes of a file system; UINT64_MAX if it does not count them (statfs(2)).
int ck_free_inodes(int d, uint64_t *inodes);

/// ID of a file system: f_fsid of statfs(2).
int ck_file_system_id(int d, uint64_t *id);
/// Type of a file system: f_type of statfs(2).
int64_t ck_file_system_magic(int d);

/// The half of btrfs's f_fsid (statfs(2)) that is the same in all subvolumes, as a non-negative number; -ENOTSUP on
/// other file systems. The other half is mixed with the subvolume's ID (kernel: fs/btrfs/super.c, btrfs_statfs).
int64_t ck_btrfs_id(int d);

/// Processors that this process may use (sched_getaffinity(2)).
int ck_processor_count(void);

// Subvolumes of btrfs (linux/btrfs.h, btrfs-ioctl(2)) ----------------------------------------------------------

/// Returns 1 or 0 (statfs(2)).
int ck_is_btrfs(int d);
int ck_subvolume_create(int d, const char *n);
int ck_subvolume_snapshot(int d, int source, const char *n, int read_only);
int ck_subvolume_destroy(int d, const char *n);
int ck_subvolume_set_read_only(int d, int read_only);
/// ID of the subvolume that contains a file or directory.
int64_t ck_subvolume_id(int d);

// Loop devices (loop(4)) --------------------------------------------------------------------------------------

/// Returns the number of an unused loop device, which the kernel creates if all are in use.
int ck_loop_free_number(int control);

/// Binds a loop device to a file (LOOP_CONFIGURE, kernel >= 5.8). The last close of the device frees it.
int ck_loop_configure(int d, int file, const char *name, int read_only);

// Device mapper (linux/dm-ioctl.h) ----------------------------------------------------------------------------

enum ck_dm_command {
    ck_dm_create = 3, ck_dm_remove = 4, ck_dm_suspend = 6, ck_dm_device_status = 7,
    ck_dm_load = 9, ck_dm_table_status = 12, ck_dm_message = 14,
};
enum ck_dm_flag {
    ck_dm_is_read_only = 1 << 0, ck_dm_is_suspended = 1 << 1, ck_dm_has_table = 1 << 5, ck_dm_is_deferred = 1 << 17,
};

struct ck_dm_answer {
    uint32_t flags;
    int32_t open_count;
    uint64_t device;
    char uuid[129];
    /// Of the first target, for ck_dm_table_status: its type, its length in sectors, and its status.
    char target_type[17];
    uint64_t length;
    char text[2048];
};

/// Runs one command of the device mapper.
///
/// `uuid`: NULL except for ck_dm_create. `event`: flags for udev in the upper 16 bits. `target_type`: NULL except for
/// ck_dm_load. `length`: of the target, in sectors of 512 bytes. `text`: the target's parameters, or a message; NULL for
/// none.
int ck_device_mapper(
    int control, unsigned command, const char *name, const char *uuid, uint32_t flags, uint32_t event,
    const char *target_type, uint64_t length, const char *text, struct ck_dm_answer *answer);

// Confinement -------------------------------------------------------------------------------------------------

/// ABI version of Landlock (landlock_create_ruleset(2)), or -errno if the kernel does not support it.
int ck_landlock_abi(void);

/// Denies the calling thread, and the threads it starts later, every right in `rights` outside `directory`.
int ck_landlock_confine(int directory, uint64_t rights);

// Locks -------------------------------------------------------------------------------------------------------

/// Takes or releases an open file description lock on a byte range without waiting (fcntl(2), F_OFD_SETLK).
int ck_ofd_lock(int d, int16_t type, int64_t start, int64_t length);

/// Returns 1 if another open file description holds a lock on part of the range, else 0 (fcntl(2), F_OFD_GETLK).
int ck_ofd_is_locked(int d, int64_t start, int64_t length);

// Mounts ------------------------------------------------------------------------------------------------------

// linux/mount.h, which conflicts with sys/mount.h of some libcs.
static const unsigned ck_fsconfig_set_flag = 0;
static const unsigned ck_fsconfig_set_string = 1;
static const unsigned ck_fsconfig_create = 6;
static const unsigned ck_mount_attribute_read_only = 1;

int ck_fsopen(const char *type);
int ck_fsconfig(int d, unsigned command, const char *key, const char *value, int aux);
int ck_fsmount(int d, unsigned attributes);
int ck_move_mount(int d, const char *target);
int ck_open_tree(const char *path);

/// Moves the calling thread to a mount namespace of its own (unshare(2)).
int ck_unshare_mounts(void);
/// No mount or unmount in this namespace is seen in another one (mount_namespaces(7)). -EINVAL if the root directory is
/// not a mount point.
int ck_make_mounts_private(void);
int ck_mount_set_readonly(int d);

/// Maps the owners of a detached mount with a user namespace (mount_setattr(2), MOUNT_ATTR_IDMAP, kernel >= 5.12).
int ck_mount_set_owners(int d, int namespace_);
/// Calls mount(2) with `directory` as the working directory, on a thread of its own, so that the working directory of
/// the process stays.
int ck_mount_from(int directory, const char *source, const char *target, const char *type, unsigned long flags,
                  const char *data);
int ck_umount(const char *target, int lazily);

// Process -----------------------------------------------------------------------------------------------------

/// The arguments of `main`, the program's name first.
int ck_argument_count(void);
const char *ck_argument(int index);

/// Returns 1 if /proc is the proc file system of this process's PID namespace, else 0 (proc(5)).
int ck_has_proc(void);

/// Blocks SIGINT and SIGTERM in the calling thread and in the threads it starts later; also SIGTSTP and SIGCONT, unless
/// SIGTSTP is ignored.
int ck_block_termination(sigset_t *set);
int ck_wait_signal(const sigset_t *set);
/// Stops the process as SIGTSTP does by default, although the calling thread blocks it. Returns once the process continues.
void ck_stop_process(void);

/// Creates a pipe whose ends children do not inherit: ends[0] to read, ends[1] to write.
int ck_pipe(int ends[2]);

/// Calls `body` when libdispatch has waited for some seconds for a thread that the system refuses.
void ck_on_missing_threads(void (*body)(void));

/// Occupies the number of a standard stream that is closed, so that no file of the store gets that number.
///
/// - Returns: -errno if the number stays free.
int ck_reserve(int descriptor);

/// Starts a program, looked up in PATH (posix_spawnp(3)): stdin is /dev/null, stdout is `output`, or /dev/null if that is
/// negative, stderr is `errors`, all other descriptors are closed, no signal is blocked, and SIGPIPE and SIGXFSZ have
/// their default action. Returns its process ID.
int ck_spawn(const char *program, char *const arguments[], int output, int errors);

/// Starts a program detached from this process (posix_spawn(3)): in a session of its own, in /, all streams /dev/null,
/// all other descriptors closed, no signal blocked or ignored. This process does not wait for it; init reaps it.
int ck_spawn_detached(const char *program, char *const arguments[], char *const environment[]);

/// Waits for a child; returns its exit status, or 128 plus the signal that ended it (waitpid(2)).
int ck_wait(int process);

/// Columns and rows of a terminal; 0 if the terminal does not know them.
int ck_terminal_size(int descriptor, unsigned short *columns, unsigned short *rows);

// User namespaces ---------------------------------------------------------------------------------------------

/// Sets up the process: umask 0, so that modes are set as given (umask(2)); the soft limit of descriptors raised to the
/// hard one; SIGCHLD with its default action. Called before all else; idempotent.
void ck_set_up_process(void);

/// Restores umask, descriptor limit, SIGPIPE and SIGXFSZ for a program that this process executes.
void ck_restore_process(void);

/// The umask that the process was started with.
uint32_t ck_inherited_mask(void);

/// Starts a program as root of a new user namespace with a new mount namespace (user_namespaces(7)). It is killed when
/// its parent ends.
///
/// The child writes ints to `ready`: 0 when the namespace exists and its maps can be written, then 0 when it can mount.
/// Instead of each, it writes the errno of the call that failed, and ends. After the second 0 the parent reads end of
/// file once the program is executed, or the errno of execvpe(3). After the first 0 the child waits for one byte from
/// `go`.
///
/// - mask: the signals that are blocked in the program.
/// - Returns: the process ID, or -errno of fork(2).
int ck_start_in_namespace(const char *program, char *const arguments[], char *const environment[], const sigset_t *mask,
                          const int ready_ends[2], const int go_ends[2]);

/// Blocks the signals that end a process, and SIGCHLD; `previous` receives the old mask.
int ck_block_for_child(sigset_t *set, sigset_t *previous);

/// Waits for a child, and forwards to it the signals that are sent to this process alone (those of a terminal reach the
/// child directly). Returns its exit status, or 128 plus the signal that ended it; or -errno.
int ck_wait_as_parent(int child, const sigset_t *set);

// Services ----------------------------------------------------------------------------------------------------

/// Creates a listening Unix stream socket whose mode is 0600 from the start (unix(7)). Changes the umask of the process
/// for a moment.
///
/// - Returns: -ENAMETOOLONG for a path that an address cannot hold.
int ck_listen_unix(const char *path);

/// Connects to a Unix stream socket and closes the connection: 0 if a process listens there, -ECONNREFUSED if none does
/// any more.
int ck_try_unix(const char *path);

/// Adopts an inherited listening Unix stream socket: sets close-on-exec; -EINVAL for any other descriptor.
int ck_adopt_listener(int descriptor);

/// Sends a state to the service manager at an address: a path, or an abstract name after `@` (sd_notify(3)).
int ck_notify(const char *address, const char *state);
