#pragma once

/*
 * symbol_inbox puts the parts of symbol tables together, and remembers which tables were asked for
 * when, so that of a hundred hosts with the same libc one is asked, and another if that one stays
 * silent.
 *
 * Bounded: few uploads at once (the longest idle is dropped and asked for again), bytes of each.
 * One thread owns it.
 */

#include <stdbool.h>
#include <stdint.h>

#include "core/auto.h"
#include "core/buf.h"
#include "profile/wire.h"

#define SYMBOL_INBOX_UPLOADS_MAX 16
#define SYMBOL_INBOX_BYTES_MAX   (64u << 20)  /* of one table */
#define SYMBOL_INBOX_TOTAL_MAX   (128u << 20) /* of all: beyond it the longest idle is dropped */
#define SYMBOL_ASK_AGAIN_NS      UINT64_C(30000000000)

struct symbol_inbox;

struct symbol_inbox *symbol_inbox_new(void);
void symbol_inbox_free(struct symbol_inbox *inbox);
DEFINE_AUTO(symbol_inbox);

/* May the table of this build-id be asked for now? Remembers that it was. */
bool symbol_inbox_ask(struct symbol_inbox *inbox, const char *build_id, uint64_t now_ns);

/*
 * Adds a part. 1: that was the last, *ret_bytes are whole (borrowed until the next call).
 * 0: more to come. -EBADMSG: out of order or sizes that do not fit. -E2BIG. -ENOMEM.
 */
int symbol_inbox_add(
        struct symbol_inbox *inbox, const struct wire_symbols *part, const struct buf **ret_bytes);
