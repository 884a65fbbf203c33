#pragma once

/*
 * symbols is the function table of one file: (offset in the file, size, name), sorted, not
 * overlapping, so that an address has one name or none. Made by the agent from .symtab and
 * .dynsym, sent once per build-id per fleet, kept by the store, read when an answer is named.
 *
 * An address beyond a symbol's size is unknown: never the nearest name. Names are as the file has
 * them (mangled). docs/formats/symbols.md has the bytes: delta offsets, sizes, front-coded names.
 */

#include <stdint.h>

#include "core/auto.h"
#include "core/buf.h"
#include "core/reader.h"

#define SYMBOLS_COUNT_MAX      (8u << 20)
#define SYMBOLS_BYTES_MAX      (256u << 20) /* unpacked */
#define SYMBOLS_NAME_BYTES_MAX 65535

struct symbols_builder;
struct symbols;

struct symbols_builder *symbols_builder_new(void);
void symbols_builder_free(struct symbols_builder *builder);
DEFINE_AUTO(symbols_builder);

/*
 * In any order. Same offset: the first added wins, so add the better source first. Nothing is kept
 * of a symbol without a size or a name: it could never be an answer. Longer names are cut.
 * -ENOMEM. -ENOSPC: past a limit.
 */
int symbols_builder_add(struct symbols_builder *builder, uint64_t offset, uint64_t bytes,
        const char *name, size_t name_count);

/* Sorts, cuts a symbol where the next one begins, packs (zstd), checksums, appends. -ENOMEM. */
int symbols_builder_finish(struct symbols_builder *builder, struct buf *to);

/* Unpacks. -EBADMSG: not an encoding; -E2BIG: past a limit; -ENOMEM. */
int symbols_open(const void *bytes, size_t count, struct symbols **ret_symbols);
void symbols_free(struct symbols *symbols);
DEFINE_AUTO(symbols);

uint32_t symbols_count(const struct symbols *symbols);

/* The name of the function that holds the offset, borrowed, or NULL. */
const char *symbols_find(const struct symbols *symbols, uint64_t offset, uint64_t *ret_start);

/* About how many bytes of memory an open table holds. */
size_t symbols_memory(const struct symbols *symbols);
