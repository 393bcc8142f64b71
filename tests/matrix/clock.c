/* A clock that jumps for the programs that load this: OFFSET_FILE holds by how many seconds, as a long.

   Rule: only what people call the time moves; the monotonic clock does not, and a wait until a time of day ends when it
   would have ended on a host whose clock had jumped. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const long none = 0;
static const volatile long *offset = &none;
static long (*real_syscall)(long, ...);

__attribute__((constructor)) static void begin(void) {
    real_syscall = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall");
    int file = open(OFFSET_FILE, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return;
    void *page = mmap(NULL, sizeof(long), PROT_READ, MAP_SHARED, file, 0);
    if (page != MAP_FAILED)
        offset = page;
    close(file);
}

static long raw(long number, long a, long b) {
    if (!real_syscall)
        real_syscall = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall");
    return real_syscall(number, a, b);
}

int clock_gettime(clockid_t clock, struct timespec *told) {
    int code = raw(SYS_clock_gettime, clock, (long)told);
    if (!code && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        told->tv_sec += *offset;
    return code;
}

int gettimeofday(struct timeval *restrict told, void *restrict zone) {
    int code = raw(SYS_gettimeofday, (long)told, (long)zone);
    if (!code)
        told->tv_sec += *offset;
    return code;
}

time_t time(time_t *told) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (told)
        *told = now.tv_sec;
    return now.tv_sec;
}

/* The kernel's time for a time of day; what is monotonic is far smaller and stays. */
static struct timespec kernels(const struct timespec *until) {
    struct timespec told = *until;
    if (told.tv_sec > 1000000000)
        told.tv_sec -= *offset;
    return told;
}

int pthread_cond_timedwait(pthread_cond_t *restrict c, pthread_mutex_t *restrict m, const struct timespec *restrict until) {
    static int (*real)(pthread_cond_t *, pthread_mutex_t *, const struct timespec *);
    if (!real)
        real = dlvsym(RTLD_NEXT, "pthread_cond_timedwait", "GLIBC_2.3.2");
    struct timespec told = kernels(until);
    return real(c, m, &told);
}

int sem_timedwait(sem_t *restrict s, const struct timespec *restrict until) {
    static int (*real)(sem_t *, const struct timespec *);
    if (!real)
        real = dlsym(RTLD_NEXT, "sem_timedwait");
    struct timespec told = kernels(until);
    return real(s, &told);
}

long syscall(long number, ...) {
    long a[6];
    va_list rest;
    va_start(rest, number);
    for (int i = 0; i < 6; i++)
        a[i] = va_arg(rest, long);
    va_end(rest);
    struct timespec told;
    if (number == SYS_futex && (a[1] & FUTEX_CLOCK_REALTIME) && a[3]) {
        told = kernels((const struct timespec *)a[3]);
        a[3] = (long)&told;
    }
    return real_syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}
