#define _GNU_SOURCE
#include "CKernel.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <linux/btrfs.h>
#include <linux/btrfs_tree.h>
#include <linux/fs.h>
#include <linux/fsverity.h>
#include <linux/loop.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <pthread.h>
#include <sched.h>
#include <spawn.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#define CK_RETURN(expression) \
    do { __typeof__(expression) ck_result = (expression); return ck_result < 0 ? -errno : ck_result; } while (0)

// Opening -----------------------------------------------------------------------------------------------------

int ck_openat(int directory, const char *path, int flags, uint32_t mode) {
    CK_RETURN(openat(directory, path, flags | O_CLOEXEC, (mode_t)mode));
}

// openat2(2), kernel >= 5.6.
int ck_openat2(int directory, const char *path, int flags, uint64_t resolve) {
    struct open_how how = {.flags = (uint64_t)(flags | O_CLOEXEC), .mode = 0, .resolve = resolve};
    CK_RETURN((int)syscall(SYS_openat2, directory, path, &how, sizeof how));
}

int ck_close(int descriptor) { CK_RETURN(close(descriptor)); }

int ck_duplicate(int descriptor) { CK_RETURN(fcntl(descriptor, F_DUPFD_CLOEXEC, STDERR_FILENO + 1)); }

int ck_temporary_at(int d) { CK_RETURN(openat(d, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600)); }

int ck_temporary(const char *folder) {
    int descriptor = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (descriptor >= 0 || (errno != EOPNOTSUPP && errno != EISDIR)) return descriptor < 0 ? -errno : descriptor;
    char name[PATH_MAX];
    if (snprintf(name, sizeof name, "%s/unpack-XXXXXX", folder) >= (int)sizeof name) return -ENAMETOOLONG;
    descriptor = mkostemp(name, O_CLOEXEC);
    if (descriptor < 0) return -errno;
    unlink(name);
    return descriptor;
}

// Names in a directory ----------------------------------------------------------------------------------------

int ck_mkdirat(int d, const char *n, uint32_t mode) { CK_RETURN(mkdirat(d, n, (mode_t)mode)); }
int ck_symlinkat(const char *target, int d, const char *n) { CK_RETURN(symlinkat(target, d, n)); }
int ck_linkat(int fd, const char *from, int td, const char *to) { CK_RETURN(linkat(fd, from, td, to, 0)); }
int ck_unlinkat(int d, const char *n, int flags) { CK_RETURN(unlinkat(d, n, flags)); }
int ck_fstatat(int d, const char *n, struct stat *s, int flags) { CK_RETURN(fstatat(d, n, s, flags)); }
int ck_fstat(int d, struct stat *s) { CK_RETURN(fstat(d, s)); }
int ck_mknodat(int d, const char *n, uint32_t mode, uint32_t major_, uint32_t minor_) {
    CK_RETURN(mknodat(d, n, (mode_t)mode, makedev(major_, minor_)));
}
int ck_renameat2(int fd, const char *from, int td, const char *to, unsigned flags) {
    CK_RETURN((int)syscall(SYS_renameat2, fd, from, td, to, flags));
}
ssize_t ck_readlinkat(int d, const char *n, char *buffer, size_t size) {
    CK_RETURN(readlinkat(d, n, buffer, size));
}
unsigned ck_major(dev_t device) { return major(device); }
unsigned ck_minor(dev_t device) { return minor(device); }

ssize_t ck_getdents(int d, void *records, size_t size) { CK_RETURN(getdents64(d, records, size)); }

// Metadata ----------------------------------------------------------------------------------------------------

int ck_fchown(int d, uint32_t uid, uint32_t gid) { CK_RETURN(fchown(d, uid, gid)); }
int ck_fchownat(int d, const char *n, uint32_t uid, uint32_t gid) {
    CK_RETURN(fchownat(d, n, uid, gid, AT_SYMLINK_NOFOLLOW));
}
int ck_fchmod(int d, uint32_t mode) { CK_RETURN(fchmod(d, (mode_t)mode)); }
int ck_chmod(const char *path, uint32_t mode) { CK_RETURN(chmod(path, (mode_t)mode)); }
int ck_futimens(int d, const struct timespec times[2]) { CK_RETURN(futimens(d, times)); }
int ck_utimensat(int d, const char *n, const struct timespec times[2]) {
    CK_RETURN(utimensat(d, n, times, AT_SYMLINK_NOFOLLOW));
}
int ck_fsetxattr(int d, const char *n, const void *v, size_t size) { CK_RETURN(fsetxattr(d, n, v, size, 0)); }
int ck_lsetxattr(const char *p, const char *n, const void *v, size_t size) { CK_RETURN(lsetxattr(p, n, v, size, 0)); }
ssize_t ck_fgetxattr(int d, const char *n, void *v, size_t size) { CK_RETURN(fgetxattr(d, n, v, size)); }
ssize_t ck_lgetxattr(const char *p, const char *n, void *v, size_t size) { CK_RETURN(lgetxattr(p, n, v, size)); }
ssize_t ck_flistxattr(int d, char *list, size_t size) { CK_RETURN(flistxattr(d, list, size)); }
ssize_t ck_llistxattr(const char *p, char *list, size_t size) { CK_RETURN(llistxattr(p, list, size)); }
int ck_fremovexattr(int d, const char *n) { CK_RETURN(fremovexattr(d, n)); }

// File content ------------------------------------------------------------------------------------------------

ssize_t ck_read(int d, void *buffer, size_t size) { CK_RETURN(read(d, buffer, size)); }
ssize_t ck_write(int d, const void *buffer, size_t size) { CK_RETURN(write(d, buffer, size)); }
ssize_t ck_pwrite(int d, const void *buffer, size_t size, int64_t offset) {
    CK_RETURN(pwrite(d, buffer, size, offset));
}
ssize_t ck_pread(int d, void *buffer, size_t size, int64_t offset) { CK_RETURN(pread(d, buffer, size, offset)); }
int ck_ftruncate(int d, int64_t size) { CK_RETURN(ftruncate(d, size)); }
int64_t ck_seek_data(int d, int64_t offset) { CK_RETURN(lseek(d, offset, SEEK_DATA)); }
int64_t ck_seek_hole(int d, int64_t offset) { CK_RETURN(lseek(d, offset, SEEK_HOLE)); }
ssize_t ck_copy_file_range(int from, int64_t *from_offset, int to, int64_t *to_offset, size_t size) {
    CK_RETURN(copy_file_range(from, from_offset, to, to_offset, size, 0));
}
int ck_clone(int to, int from) { CK_RETURN(ioctl(to, FICLONE, from)); }

// Treats an ioctl that the file system does not implement as success: the caller then reports zeros.
static int ck_missing_ioctl(int result) {
    int is_missing = errno == ENOTTY || errno == EOPNOTSUPP || errno == EINVAL || errno == ENOSYS;
    return result == 0 || is_missing ? 0 : -errno;
}

int ck_inode_settings(int d, struct ck_inode_settings *settings) {
    struct fsxattr extended = {0};
    unsigned int flags = 0;
    int result = ck_missing_ioctl(ioctl(d, FS_IOC_GETFLAGS, &flags));
    if (result == 0) result = ck_missing_ioctl(ioctl(d, FS_IOC_FSGETXATTR, &extended));
    *settings = (struct ck_inode_settings){
        .flags = flags, .extended_flags = extended.fsx_xflags, .project = extended.fsx_projid,
        .extent_size = extended.fsx_extsize, .shared_extent_size = extended.fsx_cowextsize};
    return result;
}

int ck_set_inode_settings(int d, const struct ck_inode_settings *wanted) {
    struct ck_inode_settings now;
    int result = ck_inode_settings(d, &now);
    if (result < 0) return result;
    if (now.flags != wanted->flags) {
        unsigned int flags = wanted->flags;
        if (ioctl(d, FS_IOC_SETFLAGS, &flags) < 0) return -errno;
        // Most flags exist in both interfaces, so that the first call may have changed the extended ones.
        if ((result = ck_inode_settings(d, &now)) < 0) return result;
    }
    if (now.extended_flags == wanted->extended_flags && now.project == wanted->project
        && now.extent_size == wanted->extent_size && now.shared_extent_size == wanted->shared_extent_size)
        return 0;
    struct fsxattr extended = {
        .fsx_xflags = wanted->extended_flags, .fsx_projid = wanted->project, .fsx_extsize = wanted->extent_size,
        .fsx_cowextsize = wanted->shared_extent_size};
    CK_RETURN(ioctl(d, FS_IOC_FSSETXATTR, &extended));
}

int ck_enable_verity(int d) {
    struct fsverity_enable_arg arguments = {
        .version = 1, .hash_algorithm = FS_VERITY_HASH_ALG_SHA256, .block_size = 4096};
    if (ioctl(d, FS_IOC_ENABLE_VERITY, &arguments) == 0 || errno == EEXIST) return 1;
    // Before Linux 6.3 the block size must be that of a page (EINVAL). A required signature is missing (EPERM).
    int is_missing = errno == ENOTTY || errno == EOPNOTSUPP || errno == EINVAL || errno == EPERM;
    return is_missing ? 0 : -errno;
}

int ck_verity_digest(int d, uint8_t digest[32]) {
    union {
        struct fsverity_digest header;
        uint8_t bytes[sizeof(struct fsverity_digest) + 32];
    } measured = {.header = {.digest_size = 32}};
    if (ioctl(d, FS_IOC_MEASURE_VERITY, &measured) < 0) {
        int is_missing = errno == ENOTTY || errno == EOPNOTSUPP || errno == ENODATA;
        return is_missing ? 0 : -errno;
    }
    memcpy(digest, measured.bytes + sizeof measured.header, 32);
    return 1;
}

int ck_fsync(int d) { CK_RETURN(fsync(d)); }
int ck_syncfs(int d) { CK_RETURN(syncfs(d)); }

int64_t ck_free_bytes(int d, int with_reserved) {
    struct statfs status;
    if (fstatfs(d, &status) < 0) return -errno;
    return (int64_t)(with_reserved ? status.f_bfree : status.f_bavail) * status.f_bsize;
}

int ck_free_inodes(int d, uint64_t *inodes) {
    struct statfs status;
    if (fstatfs(d, &status) < 0) return -errno;
    // btrfs and others report 0: they allocate inodes on demand.
    *inodes = status.f_files ? status.f_ffree : UINT64_MAX;
    return 0;
}

int64_t ck_file_system_magic(int d) {
    struct statfs status;
    if (fstatfs(d, &status) < 0) return -errno;
    return (uint32_t)status.f_type;
}

int ck_file_system_id(int d, uint64_t *id) {
    struct statfs status;
    if (fstatfs(d, &status) < 0) return -errno;
    *id = (uint64_t)(uint32_t)status.f_fsid.__val[1] << 32 | (uint32_t)status.f_fsid.__val[0];
    return 0;
}

int64_t ck_btrfs_id(int d) {
    struct statfs s;
    if (fstatfs(d, &s) < 0) return -errno;
    if ((uint32_t)s.f_type != BTRFS_SUPER_MAGIC) return -ENOTSUP;
    return (uint32_t)s.f_fsid.__val[0];
}

// Processors ---------------------------------------------------------------------------------------------------

int ck_processor_count(void) {
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set);
    // cpu_set_t holds 1024 processors (CPU_SET(3)).
    return (int)sysconf(_SC_NPROCESSORS_ONLN);
}

// Subvolumes of btrfs -----------------------------------------------------------------------------------------

int ck_is_btrfs(int d) {
    struct statfs status;
    if (fstatfs(d, &status) < 0) return -errno;
    return (uint32_t)status.f_type == BTRFS_SUPER_MAGIC;
}

static int ck_subvolume_call(int d, unsigned long call, int source, const char *name, uint64_t flags) {
    struct btrfs_ioctl_vol_args_v2 arguments = {.fd = source, .flags = flags};
    if (strlen(name) >= sizeof arguments.name) return -ENAMETOOLONG;
    strcpy(arguments.name, name);
    CK_RETURN(ioctl(d, call, &arguments));
}

int ck_subvolume_create(int d, const char *n) { return ck_subvolume_call(d, BTRFS_IOC_SUBVOL_CREATE_V2, 0, n, 0); }
int ck_subvolume_snapshot(int d, int source, const char *n, int read_only) {
    return ck_subvolume_call(d, BTRFS_IOC_SNAP_CREATE_V2, source, n, read_only ? BTRFS_SUBVOL_RDONLY : 0);
}
int ck_subvolume_destroy(int d, const char *n) { return ck_subvolume_call(d, BTRFS_IOC_SNAP_DESTROY_V2, 0, n, 0); }

int ck_subvolume_set_read_only(int d, int read_only) {
    uint64_t flags = 0;
    if (ioctl(d, BTRFS_IOC_SUBVOL_GETFLAGS, &flags) < 0) return -errno;
    uint64_t wanted = read_only ? flags | BTRFS_SUBVOL_RDONLY : flags & ~BTRFS_SUBVOL_RDONLY;
    if (wanted == flags) return 0;
    CK_RETURN(ioctl(d, BTRFS_IOC_SUBVOL_SETFLAGS, &wanted));
}

int64_t ck_subvolume_id(int d) {
    struct btrfs_ioctl_ino_lookup_args arguments = {.treeid = 0, .objectid = BTRFS_FIRST_FREE_OBJECTID};
    if (ioctl(d, BTRFS_IOC_INO_LOOKUP, &arguments) < 0) return -errno;
    return (int64_t)arguments.treeid;
}

// Loop devices ------------------------------------------------------------------------------------------------

int ck_loop_free_number(int control) { CK_RETURN(ioctl(control, LOOP_CTL_GET_FREE)); }

int ck_loop_configure(int d, int file, const char *name, int read_only) {
    struct loop_config config = {.fd = (uint32_t)file};
    config.info.lo_flags = LO_FLAGS_AUTOCLEAR | (read_only ? LO_FLAGS_READ_ONLY : 0);
    strncpy((char *)config.info.lo_file_name, name, LO_NAME_SIZE - 1);
    CK_RETURN(ioctl(d, LOOP_CONFIGURE, &config));
}

// Confinement -------------------------------------------------------------------------------------------------

// Numbers of linux/landlock.h and the system call table: libc has no wrappers, and Debian's headers are older than some
// kernels.
enum { CK_LANDLOCK_CREATE = 444, CK_LANDLOCK_ADD = 445, CK_LANDLOCK_RESTRICT = 446, CK_LANDLOCK_BENEATH = 1 };

int ck_landlock_abi(void) { CK_RETURN((int)syscall(CK_LANDLOCK_CREATE, NULL, 0, 1 /* _VERSION */)); }

int ck_landlock_confine(int directory, uint64_t rights) {
    struct { uint64_t handled; } ruleset = {rights};
    struct { uint64_t allowed; int32_t parent; } __attribute__((packed)) beneath = {rights, directory};
    int rules = (int)syscall(CK_LANDLOCK_CREATE, &ruleset, sizeof ruleset, 0);
    if (rules < 0) return -errno;
    int failed = syscall(CK_LANDLOCK_ADD, rules, CK_LANDLOCK_BENEATH, &beneath, 0) < 0
        || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || syscall(CK_LANDLOCK_RESTRICT, rules, 0) < 0;
    int result = failed ? -errno : 0;
    close(rules);
    return result;
}

// Locks -------------------------------------------------------------------------------------------------------

int ck_ofd_lock(int d, int16_t type, int64_t start, int64_t length) {
    struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = length, .l_pid = 0};
    CK_RETURN(fcntl(d, F_OFD_SETLK, &lock));
}
int ck_ofd_is_locked(int d, int64_t start, int64_t length) {
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = start, .l_len = length};
    if (fcntl(d, F_OFD_GETLK, &lock) < 0) return -errno;
    return lock.l_type != F_UNLCK;
}

// Mounts ------------------------------------------------------------------------------------------------------


int ck_fsopen(const char *type) { CK_RETURN((int)syscall(SYS_fsopen, type, 1 /* FSOPEN_CLOEXEC */)); }
int ck_fsconfig(int d, unsigned command, const char *key, const char *value, int aux) {
    CK_RETURN((int)syscall(SYS_fsconfig, d, command, key, value, aux));
}
int ck_fsmount(int d, unsigned attributes) {
    CK_RETURN((int)syscall(SYS_fsmount, d, 1 /* FSMOUNT_CLOEXEC */, attributes));
}
int ck_move_mount(int d, const char *target) {
    CK_RETURN((int)syscall(SYS_move_mount, d, "", AT_FDCWD, target, 0x4 /* MOVE_MOUNT_F_EMPTY_PATH */));
}
int ck_open_tree(const char *path) {
    CK_RETURN((int)syscall(SYS_open_tree, AT_FDCWD, path, 1 /* OPEN_TREE_CLONE */ | O_CLOEXEC));
}
int ck_unshare_mounts(void) { CK_RETURN(unshare(CLONE_NEWNS)); }
int ck_make_mounts_private(void) { CK_RETURN(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL)); }
int ck_mount_set_owners(int d, int namespace_) {
    struct { uint64_t set, clear, propagation, userns; } attributes = {
        .set = 0x00100000 /* MOUNT_ATTR_IDMAP */, .userns = (uint64_t)namespace_};
    CK_RETURN((int)syscall(SYS_mount_setattr, d, "", AT_EMPTY_PATH, &attributes, sizeof attributes));
}
int ck_mount_set_readonly(int d) {
    struct { uint64_t set, clear, propagation, userns; } attributes = {.set = 1 /* MOUNT_ATTR_RDONLY */};
    CK_RETURN((int)syscall(SYS_mount_setattr, d, "", AT_EMPTY_PATH, &attributes, sizeof attributes));
}
struct ck_mount_call {
    int directory;
    const char *source, *target, *type, *data;
    unsigned long flags;
    int result;
};

static void *ck_mount_on_thread(void *argument) {
    struct ck_mount_call *call = argument;
    int failed = unshare(CLONE_FS) < 0 || fchdir(call->directory) < 0
        || mount(call->source, call->target, call->type, call->flags, call->data) < 0;
    call->result = failed ? -errno : 0;
    return NULL;
}

int ck_mount_from(int directory, const char *source, const char *target, const char *type, unsigned long flags,
                  const char *data) {
    struct ck_mount_call call = {directory, source, target, type, data, flags, 0};
    pthread_t thread;
    int failure = pthread_create(&thread, NULL, ck_mount_on_thread, &call);
    if (failure) return -failure;
    pthread_join(thread, NULL);
    return call.result;
}
int ck_umount(const char *target, int lazily) {
    CK_RETURN(umount2(target, UMOUNT_NOFOLLOW | (lazily ? MNT_DETACH : 0)));
}

// Process -----------------------------------------------------------------------------------------------------

static int ck_argc;
static char **ck_argv;

// glibc passes the arguments of `main` to every constructor (elf/dl-init.c, call_init).
__attribute__((constructor)) static void ck_keep_arguments(int argc, char **argv) {
    ck_argc = argc;
    ck_argv = argv;
}
int ck_argument_count(void) { return ck_argc; }
const char *ck_argument(int index) { return ck_argv[index]; }

int ck_has_proc(void) {
    struct statfs status;
    return statfs("/proc/self/fd", &status) == 0 && status.f_type == PROC_SUPER_MAGIC;
}

int ck_block_termination(sigset_t *set) {
    sigemptyset(set);
    sigaddset(set, SIGINT);
    sigaddset(set, SIGTERM);
    struct sigaction action;
    if (sigaction(SIGTSTP, NULL, &action) == 0 && action.sa_handler == SIG_DFL) {
        sigaddset(set, SIGTSTP);
        sigaddset(set, SIGCONT);
    }
    int failure = pthread_sigmask(SIG_BLOCK, set, NULL);
    return failure ? -failure : 0;
}
void ck_stop_process(void) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTSTP);
    // For this thread only. The kernel ignores it in an orphaned process group, as it would have.
    pthread_kill(pthread_self(), SIGTSTP);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
}
int ck_wait_signal(const sigset_t *set) {
    int number = 0, failure = sigwait(set, &number);
    return failure ? -failure : number;
}

static mode_t ck_mask;
static struct rlimit ck_descriptors;

static void ck_set_up_process_now(void) {
    ck_mask = umask(0);
    // An inherited SIG_IGN would make the kernel reap children, and waitpid(2) fail with ECHILD.
    signal(SIGCHLD, SIG_DFL);
    if (getrlimit(RLIMIT_NOFILE, &ck_descriptors) < 0) return;
    struct rlimit all = {ck_descriptors.rlim_max, ck_descriptors.rlim_max};
    setrlimit(RLIMIT_NOFILE, &all);
}
void ck_set_up_process(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, ck_set_up_process_now);
}
void ck_restore_process(void) {
    umask(ck_mask);
    signal(SIGPIPE, SIG_DFL);
    signal(SIGXFSZ, SIG_DFL);
    if (ck_descriptors.rlim_max) setrlimit(RLIMIT_NOFILE, &ck_descriptors);
}
uint32_t ck_inherited_mask(void) { return ck_mask; }

int ck_pipe(int ends[2]) { CK_RETURN(pipe2(ends, O_CLOEXEC)); }

// libdispatch retries once a second, without end, when the system refuses a thread (swift-corelibs-libdispatch,
// src/queue.c, _dispatch_root_queue_poke_slow), and its caller hangs. Between two attempts it calls sleep(3), which
// nothing else in the programs calls: the linker finds this definition before that of libc.
enum { CK_PATIENCE = 5 };
static void (*ck_missing_threads)(void);
static _Atomic time_t ck_asked_first, ck_asked_last;

void ck_on_missing_threads(void (*body)(void)) { ck_missing_threads = body; }

unsigned sleep(unsigned seconds) {
    struct timespec now, rest = {.tv_sec = seconds};
    clock_gettime(CLOCK_MONOTONIC, &now);
    // A new shortage: the calls of an earlier one do not count.
    if (now.tv_sec - ck_asked_last > 2) ck_asked_first = now.tv_sec;
    ck_asked_last = now.tv_sec;
    if (ck_missing_threads && now.tv_sec - ck_asked_first >= CK_PATIENCE) ck_missing_threads();
    return nanosleep(&rest, &rest) < 0 ? (unsigned)rest.tv_sec : 0;
}

int ck_reserve(int descriptor) {
    if (fcntl(descriptor, F_GETFD) >= 0) return 0;
    int opened = open("/dev/null", O_RDONLY);
    // With O_PATH, reads and writes fail with EBADF, as on the closed stream.
    if (opened < 0) opened = open("/", O_PATH);
    CK_RETURN(opened);
}

// Opens /dev/null for the streams of a child; without /dev, an empty file in memory.
static int ck_open_null(void) {
    int descriptor = open("/dev/null", O_RDWR | O_CLOEXEC);
    return descriptor < 0 ? memfd_create("null", MFD_CLOEXEC) : descriptor;
}

int ck_spawn(const char *program, char *const arguments[], int output, int errors) {
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none, pipes;
    pid_t process = 0;
    int null = ck_open_null();
    if (null < 0) return -errno;
    int failure = posix_spawn_file_actions_init(&actions);
    if (failure) goto null;
    failure = posix_spawnattr_init(&attributes);
    if (failure) goto actions;
    sigemptyset(&none);
    sigemptyset(&pipes);
    sigaddset(&pipes, SIGPIPE);
    sigaddset(&pipes, SIGXFSZ);
    failure = posix_spawn_file_actions_adddup2(&actions, null, STDIN_FILENO);
    if (!failure) failure = posix_spawn_file_actions_adddup2(&actions, output < 0 ? null : output, STDOUT_FILENO);
    if (!failure) failure = posix_spawn_file_actions_adddup2(&actions, errors, STDERR_FILENO);
    if (!failure) failure = posix_spawn_file_actions_addclosefrom_np(&actions, STDERR_FILENO + 1);
    if (!failure) failure = posix_spawnattr_setsigmask(&attributes, &none);
    if (!failure) failure = posix_spawnattr_setsigdefault(&attributes, &pipes);
    if (!failure) failure = posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    if (!failure) failure = posix_spawnp(&process, program, &actions, &attributes, arguments, environ);
    posix_spawnattr_destroy(&attributes);
actions:
    posix_spawn_file_actions_destroy(&actions);
null:
    close(null);
    return failure ? -failure : process;
}

int ck_spawn_detached(const char *program, char *const arguments[], char *const environment[]) {
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none, all;
    pid_t process = 0;
    int null = ck_open_null();
    if (null < 0) return -errno;
    int failure = posix_spawn_file_actions_init(&actions);
    if (failure) goto null;
    failure = posix_spawnattr_init(&attributes);
    if (failure) goto actions;
    sigemptyset(&none);
    sigfillset(&all);
    for (int d = STDIN_FILENO; d <= STDERR_FILENO && !failure; d++)
        failure = posix_spawn_file_actions_adddup2(&actions, null, d);
    if (!failure) failure = posix_spawn_file_actions_addclosefrom_np(&actions, STDERR_FILENO + 1);
    if (!failure) failure = posix_spawn_file_actions_addchdir_np(&actions, "/");
    if (!failure) failure = posix_spawnattr_setsigmask(&attributes, &none);
    if (!failure) failure = posix_spawnattr_setsigdefault(&attributes, &all);
    if (!failure)
        failure = posix_spawnattr_setflags(&attributes,
                                           POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    if (!failure) failure = posix_spawn(&process, program, &actions, &attributes, arguments, environment);
    posix_spawnattr_destroy(&attributes);
actions:
    posix_spawn_file_actions_destroy(&actions);
null:
    close(null);
    return failure ? -failure : process;
}

int ck_wait(int process) {
    int status = 0;
    if (waitpid(process, &status, 0) < 0) return -errno;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int ck_terminal_size(int descriptor, unsigned short *columns, unsigned short *rows) {
    struct winsize size;
    if (ioctl(descriptor, TIOCGWINSZ, &size) < 0) return -errno;
    *columns = size.ws_col;
    *rows = size.ws_row;
    return 0;
}

// User namespaces ---------------------------------------------------------------------------------------------

static void ck_report(int descriptor, int number) {
    while (write(descriptor, &number, sizeof number) < 0 && errno == EINTR) {}
}

int ck_start_in_namespace(const char *program, char *const arguments[], char *const environment[], const sigset_t *mask,
                          const int ready_ends[2], const int go_ends[2]) {
    int ready = ready_ends[1], go = go_ends[0];
    pid_t parent = getpid();
    pid_t child = fork();
    if (child) return child < 0 ? -errno : child;
    // The child has only this thread, as unshare(2) requires for CLONE_NEWUSER; until execvpe(3) it makes nothing but
    // system calls.
    char byte;
    close(ready_ends[0]);
    close(go_ends[1]);
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0) goto failed;
    if (unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0) goto failed;
    ck_report(ready, 0);
    ssize_t got;
    while ((got = read(go, &byte, 1)) < 0 && errno == EINTR) {}
    if (got != 1) _exit(127);
    if (setresgid(0, 0, 0) < 0 || setresuid(0, 0, 0) < 0) goto failed;
    // EPERM where only one ID is mapped and setgroups is denied; the supplementary groups then have no ID here.
    (void)!setgroups(0, NULL);
    if (mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0) goto failed;
    // A change of the credentials clears the setting (prctl(2), PR_SET_PDEATHSIG).
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0) goto failed;
    if (getppid() != parent) _exit(127);
    ck_report(ready, 0);
    ck_restore_process();
    sigprocmask(SIG_SETMASK, mask, NULL);
    execvpe(program, arguments, environment);
failed:
    ck_report(ready, errno);
    _exit(127);
}

int ck_block_for_child(sigset_t *set, sigset_t *previous) {
    sigemptyset(set);
    for (const int *number = (const int[]){SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGCHLD, 0}; *number; number++)
        sigaddset(set, *number);
    int failure = pthread_sigmask(SIG_BLOCK, set, previous);
    return failure ? -failure : 0;
}

int ck_wait_as_parent(int child, const sigset_t *set) {
    for (;;) {
        int status = 0;
        pid_t ended = waitpid(child, &status, WNOHANG);
        if (ended < 0) return -errno;
        if (ended == child) return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
        siginfo_t info;
        int number = sigwaitinfo(set, &info);
        if (number > 0 && number != SIGCHLD && info.si_code <= 0) kill(child, number);
    }
}

static int ck_unix_address(const char *path, struct sockaddr_un *address, socklen_t *size) {
    size_t length = strlen(path);
    memset(address, 0, sizeof *address);
    address->sun_family = AF_UNIX;
    if (length >= sizeof address->sun_path) return -ENAMETOOLONG;
    memcpy(address->sun_path, path, length);
    // An abstract name, as systemd may set it, has no terminating NUL (unix(7)).
    if (path[0] == '@') address->sun_path[0] = 0;
    *size = offsetof(struct sockaddr_un, sun_path) + length + (path[0] != '@');
    return 0;
}

int ck_listen_unix(const char *path) {
    struct sockaddr_un address;
    socklen_t size;
    int failure = ck_unix_address(path, &address, &size);
    if (failure) return failure;
    int d = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (d < 0) return -errno;
    mode_t mask = umask(0177);
    int result = bind(d, (struct sockaddr *)&address, size);
    if (result == 0) result = listen(d, SOMAXCONN);
    failure = errno;
    umask(mask);
    if (result == 0) return d;
    close(d);
    return -failure;
}

int ck_try_unix(const char *path) {
    struct sockaddr_un address;
    socklen_t size;
    int failure = ck_unix_address(path, &address, &size);
    if (failure) return failure;
    int d = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (d < 0) return -errno;
    int result = connect(d, (struct sockaddr *)&address, size) < 0 ? -errno : 0;
    close(d);
    return result;
}

int ck_adopt_listener(int descriptor) {
    int domain = 0, type = 0, listens = 0;
    socklen_t size = sizeof(int);
    if (getsockopt(descriptor, SOL_SOCKET, SO_DOMAIN, &domain, &size) < 0) return -errno;
    if (getsockopt(descriptor, SOL_SOCKET, SO_TYPE, &type, &size) < 0) return -errno;
    if (getsockopt(descriptor, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) < 0) return -errno;
    if (domain != AF_UNIX || type != SOCK_STREAM || !listens) return -EINVAL;
    CK_RETURN(fcntl(descriptor, F_SETFD, FD_CLOEXEC));
}

int ck_notify(const char *path, const char *state) {
    struct sockaddr_un address;
    socklen_t size;
    int failure = ck_unix_address(path, &address, &size);
    if (failure) return failure;
    int d = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (d < 0) return -errno;
    ssize_t sent = sendto(d, state, strlen(state), MSG_NOSIGNAL, (struct sockaddr *)&address, size);
    failure = sent < 0 ? -errno : 0;
    close(d);
    return failure;
}
