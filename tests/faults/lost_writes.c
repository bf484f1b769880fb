/* Preloaded into a program under test: a disk whose fsync fails while a file named by FAULT_FILE exists, and that then
 * loses what was written since the last fsync that did not fail, as Linux does: the pages are dropped, and the next
 * fsync succeeds without them. Only files under FAULT_UNDER are touched, which are written by appending alone. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define FILES 65536

static struct { dev_t device; ino_t inode; off_t bytes; } synced[FILES];
static int files;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static time_t started_s;

__attribute__((constructor)) static void remember_start(void) { started_s = time(NULL); }

/* Nothing of a new file is durable before its first fsync; of one that was there before this process all is taken to be. */
static off_t bytes_at_first(int fd, const struct stat *status) {
    struct statx more;
    if (statx(fd, "", AT_EMPTY_PATH, STATX_BTIME, &more) != 0 || !(more.stx_mask & STATX_BTIME))
        return status->st_size;
    return more.stx_btime.tv_sec >= started_s ? 0 : status->st_size;
}

static off_t *durable_bytes(int fd, const struct stat *status) {
    for (int at = 0; at < files; at++)
        if (synced[at].device == status->st_dev && synced[at].inode == status->st_ino)
            return &synced[at].bytes;
    if (files == FILES)
        abort();
    synced[files].device = status->st_dev;
    synced[files].inode = status->st_ino;
    synced[files].bytes = bytes_at_first(fd, status);
    return &synced[files++].bytes;
}

static int watched(int fd, struct stat *status) {
    char link[64], path[PATH_MAX];
    const char *under = getenv("FAULT_UNDER");
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (under == NULL || length < 0 || strncmp(path, under, strlen(under)) != 0)
        return 0;
    path[length] = 0;
    return strstr(path, ".redb") == NULL && fstat(fd, status) == 0;
}

static void lose(int fd, off_t from, off_t to) {
    static const char zeros[4096];
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    FILE *file = fopen(link, "r+");
    if (file == NULL)
        return;
    fseeko(file, from, SEEK_SET);
    for (off_t at = from; at < to; at += sizeof zeros)
        fwrite(zeros, 1, to - at < (off_t)sizeof zeros ? (size_t)(to - at) : sizeof zeros, file);
    fclose(file);
}

static int sync_with(const char *name, int fd) {
    int (*real)(int) = dlsym(RTLD_NEXT, name);
    struct stat status;
    if (!watched(fd, &status))
        return real(fd);
    const char *fault = getenv("FAULT_FILE");
    int fails = fault != NULL && access(fault, F_OK) == 0;
    int result = fails ? -1 : real(fd);
    if (S_ISREG(status.st_mode)) {
        pthread_mutex_lock(&lock);
        off_t *durable = durable_bytes(fd, &status);
        if (*durable > status.st_size)
            *durable = status.st_size;
        if (fails && *durable < status.st_size)
            lose(fd, *durable, status.st_size);
        /* What was lost counts as written from now on: no later fsync brings it back, or fails because of it. */
        *durable = status.st_size;
        pthread_mutex_unlock(&lock);
    }
    errno = fails ? EIO : errno;
    return result;
}

int fsync(int fd) { return sync_with("fsync", fd); }
int fdatasync(int fd) { return sync_with("fdatasync", fd); }
