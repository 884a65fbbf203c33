#pragma once

/*
 * quarantine remembers which records and blocks could not be read, so that a damaged block is not
 * read and unpacked again by every question that meets it, and so that somebody can be told.
 *
 * It is in memory alone and bounded: what is found past the bound is only counted, and is read and
 * refused each time, as if there were no quarantine. Nothing is moved or changed on the disk. A
 * record is shut when nothing of it can be used, whoever reads it; only such are passed over. After
 * an hour of the caller's clock a shut one is to be looked at again. What nobody met for a week is
 * forgotten.
 *
 * Any thread may call anything.
 */

#include <stdbool.h>
#include <stdint.h>

#include "core/auto.h"
#include "core/clock.h"
#include "storage/keys.h"
#include "storage/kv.h"

#define QUARANTINE_RECORDS_MAX   1024
#define QUARANTINE_LOOK_AGAIN_NS (UINT64_C(3600) * NS_PER_S)
#define QUARANTINE_FORGET_NS     (UINT64_C(7) * 86400 * NS_PER_S)
#define QUARANTINE_FAMILY_BYTES  16
#define QUARANTINE_KEY_TEXT      128

struct quarantine;

/* NULL when out of memory. */
struct quarantine *quarantine_new(uint32_t records_max);
void quarantine_free(struct quarantine *quarantine);
DEFINE_AUTO(quarantine);

struct quarantine_key {
	enum kv_family family;
	struct kv_bytes bytes;
};

/* It could not be read, for this negative errno. Says so again, or more, of one that is in. */
void quarantine_note(struct quarantine *quarantine, struct quarantine_key key, int reason,
        bool is_shut, uint64_t now_ns);

enum quarantine_verdict {
	QUARANTINE_READ,       /* it is not in, or not shut */
	QUARANTINE_PASS_OVER,  /* counted as met; *ret_reason is why it cannot be read */
	QUARANTINE_LOOK_AGAIN, /* read it, then note it again or lift it */
};

/* Asked before reading: costs nothing while nothing is in. */
enum quarantine_verdict quarantine_meet(
        struct quarantine *quarantine, struct quarantine_key key, uint64_t now_ns, int *ret_reason);

void quarantine_lift(struct quarantine *quarantine, struct quarantine_key key);
/* The record and all blocks of a window that went. */
void quarantine_lift_window(struct quarantine *quarantine, struct key_window key);
/* Keys of the family in [from, to). */
void quarantine_lift_range(struct quarantine *quarantine, enum kv_family family,
        struct kv_bytes from, struct kv_bytes to);
/* The files were opened again: everything is to be looked at again. */
void quarantine_clear(struct quarantine *quarantine);

uint32_t quarantine_count(const struct quarantine *quarantine);
/* How often one found no room. */
uint64_t quarantine_overflow(const struct quarantine *quarantine);

struct quarantine_record {
	char family[QUARANTINE_FAMILY_BYTES];
	char key[QUARANTINE_KEY_TEXT]; /* readable, cut */
	int reason;
	uint64_t first_ns; /* unix; when it was met */
	uint64_t last_ns;
	uint64_t times;
};

/*
 * Those that were not taken before, up to count of them; returns how many. Forgets what nobody met
 * for a week.
 */
uint32_t quarantine_take(struct quarantine *quarantine, uint64_t now_ns,
        struct quarantine_record *ret_records, uint32_t count);
