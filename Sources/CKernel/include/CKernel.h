// What Swift cannot import from libc: variadic system calls, function-like macros, and calls that the Glibc
// module hides. Every function returns its value, or -errno.
//
// Bodies are in CKernel.c, because they need _GNU_SOURCE: a module that defines it disagrees with all others about
// the types of libc.
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

/// Another descriptor of the same open file (fcntl(2), F_DUPFD_CLOEXEC).
int ck_duplicate(int descriptor);

/// A file without a name for reading and writing (open(2), O_TMPFILE); where the file system has none, one whose name is
/// removed at once.
int ck_temporary(const char *folder);

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

/// Records of the next names (getdents64(2)); 0 behind the last one.
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

/// Lets a file share all extents of another (ioctl_ficlone(2)).
int ck_clone(int to, int from);

/// FS_*_FL (ioctl_iflags(2)), and FS_XFLAG_*, project and extent size hints (ioctl_xfs_fsgetxattr(2)).
struct ck_inode_settings {
    uint32_t flags, extended_flags, project, extent_size, shared_extent_size;
};
/// Zeros for what the file system does not have.
int ck_inode_settings(int d, struct ck_inode_settings *settings);
/// Changes only what differs.
int ck_set_inode_settings(int d, const struct ck_inode_settings *wanted);
int ck_fsync(int d);
int ck_syncfs(int d);

/// Bytes that a file system has free, with or without those that are kept for root (statfs(2)).
int64_t ck_free_bytes(int d, int with_reserved);

/// The number of inodes that a file system has free; UINT64_MAX if it does not count them (statfs(2)).
int ck_free_inodes(int d, uint64_t *inodes);

/// Tells the type of a file system: f_type of statfs(2).
int64_t ck_file_system_magic(int d);

/// The half of a btrfs's f_fsid (statfs(2)) that is the same in all of its subvolumes (kernel: fs/btrfs/super.c,
/// btrfs_statfs: the other half is mixed with the subvolume's number), which is never negative; -ENOTSUP elsewhere.
int64_t ck_btrfs_id(int d);

/// Processors that this process may use (sched_getaffinity(2)).
int ck_processor_count(void);

// Subvolumes of btrfs (linux/btrfs.h, btrfs-ioctl(2)) ----------------------------------------------------------

/// 1 or 0 (statfs(2)).
int ck_is_btrfs(int d);
int ck_subvolume_create(int d, const char *n);
int ck_subvolume_snapshot(int d, int source, const char *n, int read_only);
int ck_subvolume_destroy(int d, const char *n);
int ck_subvolume_set_read_only(int d, int read_only);
/// The subvolume that a file or directory belongs to.
int64_t ck_subvolume_id(int d);

// Loop devices (loop(4)) --------------------------------------------------------------------------------------

/// The number of a device that nobody uses, made if there is none.
int ck_loop_free_number(int control);

/// Kernel >= 5.8. The device is freed by its last close.
int ck_loop_configure(int d, int file, const char *name, int read_only);

// Confinement -------------------------------------------------------------------------------------------------

/// The version of Landlock's interface (landlock_create_ruleset(2)), or -errno where there is none.
int ck_landlock_abi(void);

/// Forbids the calling thread, and what it will start, every right of `rights` outside `directory`.
int ck_landlock_confine(int directory, uint64_t rights);

// Locks -------------------------------------------------------------------------------------------------------

/// Takes or frees an open-file-description lock on a byte range (fcntl(2), F_OFD_SETLK): never waits.
int ck_ofd_lock(int d, int16_t type, int64_t start, int64_t length);

/// 1 where somebody else has a lock on some of the range, else 0 (fcntl(2), F_OFD_GETLK).
int ck_ofd_is_locked(int d, int64_t start, int64_t length);

// Mounts ------------------------------------------------------------------------------------------------------

// linux/mount.h, which cannot be included beside sys/mount.h of every libc.
static const unsigned ck_fsconfig_set_flag = 0;
static const unsigned ck_fsconfig_set_string = 1;
static const unsigned ck_fsconfig_create = 6;
static const unsigned ck_mount_attribute_read_only = 1;

int ck_fsopen(const char *type);
int ck_fsconfig(int d, unsigned command, const char *key, const char *value, int aux);
int ck_fsmount(int d, unsigned attributes);
int ck_move_mount(int d, const char *target);
int ck_open_tree(const char *path);
int ck_mount_set_readonly(int d);

/// Maps the owners of a detached mount as a user namespace does (mount_setattr(2), MOUNT_ATTR_IDMAP, kernel >= 5.12).
int ck_mount_set_owners(int d, int namespace_);
/// mount(2) as seen from a directory: on a thread of its own, so that the process keeps its working directory.
int ck_mount_from(int directory, const char *source, const char *target, const char *type, unsigned long flags,
                  const char *data);
int ck_umount(const char *target);

// Process -----------------------------------------------------------------------------------------------------

/// The arguments that `main` receives, the program's own name among them.
int ck_argument_count(void);
const char *ck_argument(int index);

/// 1 if /proc is the proc file system of this process's PID namespace, else 0 (proc(5)).
int ck_has_proc(void);

/// Blocks SIGINT and SIGTERM in the calling thread and in all that it will start.
int ck_block_termination(sigset_t *set);
int ck_wait_signal(const sigset_t *set);

/// Two descriptors, to read from and to write to, that no child gets.
int ck_pipe(int ends[2]);

/// Calls `body` once libdispatch has waited for some seconds for a thread that the system refuses.
void ck_on_missing_threads(void (*body)(void));

/// Opens something under a number of a standard stream that is closed, so that no file of the store gets that number.
///
/// - Returns: -errno if the number stays free.
int ck_reserve(int descriptor);

/// Starts a program that is looked up in PATH: reading nothing, its output thrown away, its errors written to a
/// descriptor, no other one, no signal blocked, and SIGPIPE and SIGXFSZ ending it (posix_spawnp(3)). Returns its process.
int ck_spawn(const char *program, char *const arguments[], int errors);

/// Starts a program that goes on by itself: a session of its own, in /, all of its streams /dev/null, no other
/// descriptor, no signal blocked or ignored (posix_spawn(3)). Nobody waits for it but who comes after this process.
int ck_spawn_detached(const char *program, char *const arguments[], char *const environment[]);

/// Waits for a child's end: its status, or 128 and the signal that has ended it (waitpid(2)).
int ck_wait(int process);

/// Columns and rows of a terminal; 0 where it does not know.
int ck_terminal_size(int descriptor, unsigned short *columns, unsigned short *rows);

// User namespaces ---------------------------------------------------------------------------------------------

/// Makes the process one that sets modes as they are asked for (umask(2)), has as many descriptors as it may, and hears of its
/// children. Called before all else; again is nothing.
void ck_take_over(void);

/// Makes it again what it was, for a program that it becomes.
void ck_hand_back(void);

/// The umask that the process was started with.
uint32_t ck_inherited_mask(void);

/// Starts a program as root of a user namespace of its own, with mounts of its own (user_namespaces(7)). It ends with its
/// parent. Whatever number comes through `ready` is an errno; 0 comes once when the namespace is there, for its maps to
/// be written, and once more when it can mount; then the pipe's end, or the errno of what could not be executed. It goes on
/// once a byte has come through `go`.
///
/// - mask: the signals that the program is to have blocked.
/// - Returns: the process, or -errno of fork(2).
int ck_start_in_namespace(const char *program, char *const arguments[], char *const environment[], const sigset_t *mask,
                          const int ready_ends[2], const int go_ends[2]);

/// Blocks the signals that end a process, and SIGCHLD; `previous` gets what was blocked before.
int ck_block_for_child(sigset_t *set, sigset_t *previous);

/// Waits for a child's end, and passes on to it what is sent to this process alone: what a terminal sends, the child gets too.
/// Returns its exit status, or 128 and the signal that has ended it; or -errno.
int ck_wait_as_parent(int child, const sigset_t *set);

// Services ----------------------------------------------------------------------------------------------------

/// A stream socket of the unix domain that is listened on, of mode 0600 from its first moment (unix(7)).
///
/// - Returns: -ENAMETOOLONG for a path that an address cannot hold.
int ck_listen_unix(const char *path);

/// Whether somebody listens on a socket: 0, or -ECONNREFUSED where nobody does any more.
int ck_try_unix(const char *path);

/// Makes a descriptor that was inherited the process's own; -EINVAL if it is no stream socket of the unix domain that is
/// listened on.
int ck_adopt_listener(int descriptor);

/// Tells the service manager at an address, a path or with `@` in front an abstract name, a state (sd_notify(3)).
int ck_notify(const char *address, const char *state);
