/* Preloaded into a program under test: while the file named by FAULT_FILE exists, fsync of a folder `_delta_log` fails,
 * after the new commit was linked into it. Each byte of that file fails one fsync; an empty file fails all. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int fails(int fd) {
    char link[64], path[PATH_MAX];
    const char *suffix = "/_delta_log", *fault = getenv("FAULT_FILE");
    struct stat status;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (fault == NULL || length < (ssize_t)strlen(suffix) || stat(fault, &status) != 0)
        return 0;
    path[length] = 0;
    if (strcmp(path + length - strlen(suffix), suffix) != 0)
        return 0;
    if (status.st_size == 1)
        unlink(fault);
    else if (status.st_size > 1 && truncate(fault, status.st_size - 1) != 0)
        return 0;
    return 1;
}

int fsync(int fd) {
    int (*real)(int) = dlsym(RTLD_NEXT, "fsync");
    if (!fails(fd))
        return real(fd);
    errno = EIO;
    return -1;
}
