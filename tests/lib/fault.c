/*
 * Every test in C is linked with -Wl,--wrap=malloc and so on, which turns our files' calls of
 * malloc() into __wrap_malloc() below and keeps the true one as __real_malloc().
 */

#include "tests/lib/fault.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/uio.h>
#include <unistd.h>

/* Calls left until the one that fails; negative is disarmed. */
static atomic_llong fault_left[FAULT_COUNT] = { -1, -1, -1, -1 };
static atomic_int fault_error;
static atomic_bool fault_happened;

void fault_arm(enum fault fault, uint32_t nth, int error)
{
	fault_error = error;
	fault_happened = false;
	fault_left[fault] = nth;
}

bool fault_disarm(void)
{
	for (int i = 0; i < FAULT_COUNT; i++)
		fault_left[i] = -1;
	return fault_happened;
}

void fault_limit_files(uint64_t bytes)
{
	struct sigaction ignore = { .sa_handler = SIG_IGN };
	struct rlimit limit;
	int r = sigaction(SIGXFSZ, &ignore, NULL); /* or it ends the process */
	r = r < 0 ? r : getrlimit(RLIMIT_FSIZE, &limit);
	assert(r == 0);
	limit.rlim_cur = bytes < limit.rlim_max ? bytes : limit.rlim_max;
	r = setrlimit(RLIMIT_FSIZE, &limit);
	assert(r == 0);
}

static bool fault_now(enum fault fault)
{
	if (atomic_load(&fault_left[fault]) < 0 || atomic_fetch_sub(&fault_left[fault], 1) != 0)
		return false;
	fault_happened = true;
	errno = fault_error;
	return true;
}

#define FAULT_WRAP(fault, failure, type, name, parameters, arguments)                              \
	type __real_##name parameters;                                                             \
	type __wrap_##name parameters;                                                             \
	type __wrap_##name parameters                                                              \
	{                                                                                          \
		return fault_now(fault) ? (failure) : __real_##name arguments;                     \
	}

FAULT_WRAP(FAULT_ALLOC, NULL, void *, malloc, (size_t bytes), (bytes))
FAULT_WRAP(FAULT_ALLOC, NULL, void *, calloc, (size_t count, size_t bytes), (count, bytes))
FAULT_WRAP(FAULT_ALLOC, NULL, void *, realloc, (void *p, size_t bytes), (p, bytes))
FAULT_WRAP(FAULT_ALLOC, NULL, void *, reallocarray, (void *p, size_t count, size_t bytes),
        (p, count, bytes))
FAULT_WRAP(FAULT_ALLOC, NULL, char *, strdup, (const char *text), (text))
FAULT_WRAP(FAULT_ALLOC, NULL, char *, strndup, (const char *text, size_t bytes), (text, bytes))
FAULT_WRAP(FAULT_WRITE, -1, ssize_t, write, (int fd, const void *p, size_t bytes), (fd, p, bytes))
FAULT_WRAP(FAULT_WRITE, -1, ssize_t, pwrite, (int fd, const void *p, size_t bytes, off_t at),
        (fd, p, bytes, at))
FAULT_WRAP(FAULT_WRITE, -1, ssize_t, writev, (int fd, const struct iovec *iov, int count),
        (fd, iov, count))
FAULT_WRAP(FAULT_SYNC, -1, int, fsync, (int fd), (fd))
FAULT_WRAP(FAULT_SYNC, -1, int, fdatasync, (int fd), (fd))
FAULT_WRAP(FAULT_READ, -1, ssize_t, read, (int fd, void *p, size_t bytes), (fd, p, bytes))
FAULT_WRAP(FAULT_READ, -1, ssize_t, pread, (int fd, void *p, size_t bytes, off_t at),
        (fd, p, bytes, at))
