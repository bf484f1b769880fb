/* Preloaded into a program under test: before the step whose number, from 1 on, is DIE_BEFORE_STEP, the program ends as
 * kill -9 ends it. Steps are what makes changes durable: fsyncs, and names that come or go. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static atomic_long steps;

static void step(void) {
    const char *last = getenv("DIE_BEFORE_STEP");
    if (last != NULL && atomic_fetch_add(&steps, 1) + 1 == atol(last)) {
        kill(getpid(), SIGKILL);
        for (;;)
            pause();
    }
}

int fsync(int fd) {
    int (*real)(int) = dlsym(RTLD_NEXT, "fsync");
    step();
    return real(fd);
}

int fdatasync(int fd) {
    int (*real)(int) = dlsym(RTLD_NEXT, "fdatasync");
    step();
    return real(fd);
}

int rename(const char *from, const char *to) {
    int (*real)(const char *, const char *) = dlsym(RTLD_NEXT, "rename");
    step();
    return real(from, to);
}

int link(const char *from, const char *to) {
    int (*real)(const char *, const char *) = dlsym(RTLD_NEXT, "link");
    step();
    return real(from, to);
}

int linkat(int from_dir, const char *from, int to_dir, const char *to, int flags) {
    int (*real)(int, const char *, int, const char *, int) = dlsym(RTLD_NEXT, "linkat");
    step();
    return real(from_dir, from, to_dir, to, flags);
}

int unlink(const char *path) {
    int (*real)(const char *) = dlsym(RTLD_NEXT, "unlink");
    step();
    return real(path);
}
