/* Preloaded into a test: reads of files whose path contains UNREADABLE_NAME fail with EIO where they touch the bytes from
 * UNREADABLE_FROM up to UNREADABLE_TO. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int fails(int fd, off_t at, size_t count) {
    char link[64], path[PATH_MAX];
    const char *from = getenv("UNREADABLE_FROM"), *to = getenv("UNREADABLE_TO"), *name = getenv("UNREADABLE_NAME");
    if (from == NULL || to == NULL || name == NULL)
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0)
        return 0;
    path[length] = 0;
    return strstr(path, name) != NULL && at < atoll(to) && at + (off_t)count > atoll(from);
}

ssize_t read(int fd, void *buffer, size_t count) {
    ssize_t (*real)(int, void *, size_t) = dlsym(RTLD_NEXT, "read");
    off_t at = lseek(fd, 0, SEEK_CUR);
    if (at >= 0 && fails(fd, at, count)) {
        errno = EIO;
        return -1;
    }
    return real(fd, buffer, count);
}

ssize_t pread64(int fd, void *buffer, size_t count, off_t at) {
    ssize_t (*real)(int, void *, size_t, off_t) = dlsym(RTLD_NEXT, "pread64");
    if (fails(fd, at, count)) {
        errno = EIO;
        return -1;
    }
    return real(fd, buffer, count, at);
}
