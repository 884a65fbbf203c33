#pragma once

/*
 * Makes the Nth allocation or the Nth write of the code under test fail, in any test in C.
 *
 *	for (uint32_t nth = 0;; nth++) {
 *		fault_arm(FAULT_ALLOC, nth, ENOMEM);
 *		int r = thing_do(...);
 *		if (!fault_disarm())
 *			break;                  it ran through: every place has failed once
 *		CHECK(r == -ENOMEM);
 *	}
 *
 * Calls that our own files make are caught (the linker redirects them); what a foreign library does
 * inside is not. One thread arms at a time; calls from any thread count.
 */

#include <stdbool.h>
#include <stdint.h>

enum fault {
	FAULT_ALLOC, /* malloc, calloc, realloc, reallocarray, strdup, strndup: NULL */
	FAULT_WRITE, /* write, pwrite, writev: -1 */
	FAULT_SYNC,  /* fsync, fdatasync: -1 */
	FAULT_READ,  /* read, pread: -1 */
	FAULT_COUNT
};

/* The call number `nth` from now, counted from 0, fails with `error` in errno. Only that one. */
void fault_arm(enum fault fault, uint32_t nth, int error);

/* Ends it. True: the fault has happened. */
bool fault_disarm(void);

/*
 * A disk that is full: until it is lifted every write of this process, whoever makes it, fails with
 * EFBIG that would make a file longer than `bytes`. FAULT_FILES_ANY lifts it.
 */
#define FAULT_FILES_ANY UINT64_MAX
void fault_limit_files(uint64_t bytes);
