#pragma once

/*
 * store_verify reads everything that a store's folder holds, every checksum and every reference,
 * and tells what is wrong: which record, why, and what an answer misses by it.
 *
 * It goes by kv, not by store_open(), so a folder that is too damaged to be opened is read as far
 * as it can be; and it writes nothing, so it works on a backup and on a file system that is mounted
 * for reading. No process may have the folder open.
 *
 * What is checked, besides that every value has its checksum, a version that is known, and exactly
 * the bytes of its kind:
 *
 *	dict      one delta behind the other, none missing
 *	stream    numbered without gaps; its watermark knows each of its batches that is kept
 *	batch     its stream, series and stacks exist; it is not in a sealed window as well
 *	window    its blocks are all there; its batches are as many as its watchers say, once each
 *	unit      members, sums and detail say the same: rows per stack and group, coverage, losses,
 *	          instances; one tenant, one service, one type; no series in two units
 *	counters  of each tenant at least what is kept of it
 *	symbols   each head has its body, and the body is a table
 *	admin     documents are whole, records of the audit log chained without gaps
 *
 * What nothing names (blocks that a killed seal left) is garbage: it is told of, it is no damage.
 *
 * Memory: the dictionary, the streams, and one window at a time.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "profile/dict.h"

#define STORE_FINDING_KEY_BYTES 320

enum store_finding_kind {
	STORE_FINDING_DAMAGE = 1,
	STORE_FINDING_GARBAGE,
};

/* Texts are harmless to a terminal, whatever was on the disk. */
struct store_finding {
	enum store_finding_kind kind;
	const char *family;                /* "batch", "window", ...; "database" for all of it */
	char key[STORE_FINDING_KEY_BYTES]; /* "2026-11-25T18:40:00Z to ...: service cart, type cpu"
	                                    */
	char reason[256];
	const char *missing; /* what an answer will miss, or what else follows; "" nothing */
};

struct store_verify_summary {
	uint64_t records; /* read, of every family */
	uint64_t bytes;
	uint64_t batches; /* open and sealed */
	uint64_t rows;
	uint64_t windows;
	uint64_t damaged;
	uint64_t garbage;
	uint32_t format; /* of the folder; 0 when it cannot be read */
};

struct store_verify_options {
	const char *path;
	struct dict_limits limits; /* zeroes: the default */
	/* Told of each finding; a negative code stops and is returned. */
	int (*found)(void *owner, const struct store_finding *finding);
	/* NULL, or called after each record: which family is being read, and how far it all is. */
	void (*progress)(
	        void *owner, const char *family, const struct store_verify_summary *so_far);
	void *owner;
	const bool *cancelled; /* NULL, or polled: -ECANCELED */
};

/*
 * 0: everything that can be read was; the summary says whether something is wrong. -ENOENT: there
 * is no store. -EBUSY: a process has it open. -EPROTONOSUPPORT: only a newer profleet reads it.
 * -EACCES, -ENOMEM. ret_error says what, where, and what to do.
 */
int store_verify(const struct store_verify_options *options,
        struct store_verify_summary *ret_summary, char *ret_error, size_t error_bytes);
