#pragma once

/*
 * Ownership you can see without reading the callee.
 *
 *	AUTO(batch) b = batch_new(...);   b is freed when it goes out of scope
 *	return TAKE(b);                   ...unless someone else takes it
 *
 * A noun gets AUTO by following its _free with one DEFINE_AUTO line.
 */

#include <stdlib.h>
#include <unistd.h>

#define DEFINE_AUTO(noun)                                                                          \
	static inline void noun##_auto(struct noun **p)                                            \
	{                                                                                          \
		noun##_free(*p);                                                                   \
	}                                                                                          \
	struct noun

#define AUTO(noun) __attribute__((cleanup(noun##_auto))) struct noun *

#define TAKE(p)                                                                                    \
	({                                                                                         \
		__typeof__(p) taken_ = (p);                                                        \
		(p) = NULL;                                                                        \
		taken_;                                                                            \
	})

/* A malloc'ed pointer, and a file descriptor, that end with their scope. */
static inline void auto_free_pointer(void *p)
{
	free(*(void **)p);
}

static inline void auto_close_fd(int *fd)
{
	if (*fd >= 0)
		(void)close(*fd); /* Nothing can be done about it here; writers check fsync. */
}

#define autofree  __attribute__((cleanup(auto_free_pointer)))
#define autoclose __attribute__((cleanup(auto_close_fd)))

#define TAKE_FD(fd)                                                                                \
	({                                                                                         \
		int taken_ = (fd);                                                                 \
		(fd) = -1;                                                                         \
		taken_;                                                                            \
	})

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))
