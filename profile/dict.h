#pragma once

/*
 * dict is what rows speak of: strings, modules, frames, stack nodes and series, each with a small
 * dense id and a 128-bit content id that is the same on every machine.
 *
 * Every part keeps one: an agent's batch, both ends of a wire session, the store, an answer.
 * There is one codec for all of them (a range of ids, so a session sends only what is new) and
 * one way from one dict to another (dict_remap).
 *
 *	string 0 is "".  module 0 is no module.  node 0 is the root, which has no frame.
 *	node:   (parent, frame), parent < id, so one pass from the last id to the first sums a tree.
 *	stack:  a node; its frames are read leaf first by walking to the root.
 *
 * A stack's content id is the hash chained from the root: id(node) = H(id(parent), id(frame)).
 * It is never stored or sent, always recomputed.
 *
 * Things are added and never removed alone. Ids count up in order of insertion. A dict has limits
 * and refuses beyond them with -ENOSPC, leaving what it had. One thread owns a dict; several may
 * read it while nobody adds.
 */

#include <stdbool.h>
#include <stdint.h>

#include "core/auto.h"
#include "core/buf.h"
#include "core/hash.h"
#include "core/id_map.h"
#include "core/reader.h"

#define DICT_STRING_BYTES_MAX 65535 /* longer ones are cut by whoever makes them, and counted */
#define DICT_LABELS_MAX       64    /* labels of one series */
#define DICT_NODE_ROOT        0

enum frame_kind {
	FRAME_NATIVE = 1,    /* module with build-id, address = offset in the file */
	FRAME_KERNEL = 2,    /* function = symbol, module = "vmlinux" or the kernel module */
	FRAME_MANAGED = 3,   /* function, file, line: interpreted, JIT, or a file that named it */
	FRAME_TRUNCATED = 4, /* outermost frame of a stack whose walk did not reach its root */
};

enum frame_flags {
	FRAME_INLINED = 1, /* was inlined into the next frame towards the root */
	FRAME_FOLDED = 2,  /* pprof: several functions share this address */
};

/* A file that code was mapped from. Ids of strings. */
struct module {
	uint32_t name;     /* base name: "libc.so.6", "[vdso]", "vmlinux" */
	uint32_t build_id; /* lower-case hex of the GNU build-id, or "xxh3:" and a content hash; 0
	                      none */
	/* The mapping as an imported file gave it; zeroes from our agents, whose addresses are file
	 * offsets. */
	uint64_t start;
	uint64_t limit;
	uint64_t offset;
	uint32_t flags; /* pprof: has_functions 1, has_filenames 2, has_line_numbers 4,
	                   has_inline_frames 8 */
};

struct frame {
	uint8_t kind;  /* enum frame_kind */
	uint8_t flags; /* enum frame_flags */
	uint32_t module;
	uint32_t function;    /* as it came: a mangled name stays mangled */
	uint32_t system_name; /* pprof only */
	uint32_t file;
	uint64_t address;
	int64_t line;
	int64_t column;
	int64_t start_line;
};

struct node {
	uint32_t parent;
	uint32_t frame;
};

struct label {
	uint32_t name;
	uint32_t value;
};

/* What is counted. A stored value is a multiple of `period` in `unit`. */
struct series {
	uint32_t type;         /* "cpu" */
	uint32_t unit;         /* "nanoseconds", "count", "bytes" */
	uint64_t period;       /* > 0 */
	uint32_t labels_first; /* in the dict's label array, sorted by the bytes of the name, names
	                          distinct */
	uint32_t labels_count;
};

struct dict;

struct dict_limits {
	uint32_t strings;
	uint32_t modules;
	uint32_t frames;
	uint32_t nodes;
	uint32_t series;
	uint64_t string_bytes; /* over all strings, a closing zero each included */
};

/* A generous default for one batch or file; servers bring their own. */
extern const struct dict_limits dict_limits_default;

struct dict *dict_new(struct dict_limits limits);
void dict_free(struct dict *dict);
DEFINE_AUTO(dict);
void dict_reset(struct dict *dict);

/*
 * Find or add; 0 with the id. -ENOSPC: a limit. -ENOMEM. -EINVAL: an id inside does not exist,
 * a string is too long, a frame is of no kind, a series has repeated, empty-named or too many
 * labels, or no period.
 */
int dict_string(struct dict *dict, const char *bytes, size_t count, uint32_t *ret_id);
int dict_cstring(struct dict *dict, const char *text, uint32_t *ret_id);
int dict_module(struct dict *dict, const struct module *module, uint32_t *ret_id);
int dict_frame(struct dict *dict, const struct frame *frame, uint32_t *ret_id);
int dict_node(struct dict *dict, uint32_t parent, uint32_t frame, uint32_t *ret_id);
/*
 * `labels` need not be sorted. One whose value is "" is left out: an absent label equals an empty
 * one, so the two must be one series. labels_first and labels_count of `series` are not read.
 */
int dict_series(struct dict *dict, const struct series *series, const struct label *labels,
        uint32_t labels_count, uint32_t *ret_id);

/* Frames leaf first, as they are everywhere: interns the whole stack, or on failure nothing of it.
 */
int dict_stack(struct dict *dict, const uint32_t *frames, uint32_t depth, uint32_t *ret_node);

/* Room for so many nodes more, where it is known beforehand: adding them is cheaper. -ENOMEM. */
int dict_reserve_nodes(struct dict *dict, uint32_t count);

/* Borrowed until the dict changes. Strings are zero-terminated but may hold zero bytes. */
const char *dict_get_string(const struct dict *dict, uint32_t id, size_t *ret_count);
const char *dict_text(const struct dict *dict, uint32_t id);
const struct module *dict_get_module(const struct dict *dict, uint32_t id);
struct frame dict_get_frame(const struct dict *dict, uint32_t id); /* a copy */
struct node dict_get_node(const struct dict *dict, uint32_t id);
/* All of them by id, for loops that see millions. Borrowed until the dict changes. */
const struct node *dict_get_nodes(const struct dict *dict);
const struct series *dict_get_series(const struct dict *dict, uint32_t id);
const struct label *dict_get_labels(
        const struct dict *dict, uint32_t series); /* labels_count of them */

/* The value of one label of a series as a string id, or 0 ("": an absent label is an empty one). */
uint32_t dict_label_value(const struct dict *dict, uint32_t series, uint32_t name);

/* An id that exists, or ID_NONE; adds nothing. */
uint32_t dict_find_string(const struct dict *dict, const char *bytes, size_t count);

struct hash128 dict_node_hash(const struct dict *dict, uint32_t node);
struct hash128 dict_frame_hash(const struct dict *dict, uint32_t frame);
struct hash128 dict_series_hash(const struct dict *dict, uint32_t series);

/* How many of each there are: also a mark to encode from. A zeroed mark is the beginning. */
struct dict_mark {
	uint32_t strings;
	uint32_t modules;
	uint32_t frames;
	uint32_t nodes;
	uint32_t series;
};

struct dict_mark dict_mark(const struct dict *dict);
/* Of the strings that were added since, which is nearly all that is text. */
size_t dict_text_bytes(const struct dict *dict, struct dict_mark from);

/* Takes back everything added since the mark: a delta or group that was refused. */
void dict_truncate(struct dict *dict, struct dict_mark mark);

/* Is any kind of what there is past a part in `divisor` of its limit? */
bool dict_is_past(const struct dict *dict, uint32_t divisor);

/* About how many bytes of memory it holds. */
size_t dict_memory(const struct dict *dict);

/* Appends everything added since `from` (docs/formats/dict.md). */
void dict_encode(const struct dict *dict, struct dict_mark from, struct buf *to);

/*
 * Appends what dict_encode wrote, to a dict that stands at the same mark; reads no further than
 * that. -EBADMSG: not an encoding, or not the next one; the dict is as before. -ENOSPC, -ENOMEM:
 * likewise.
 */
int dict_decode(struct dict *dict, struct reader *from);

/*
 * dict_remap translates ids of `from` to ids of `to`, adding what `to` lacks, and remembers.
 * It follows `from` as it grows, and forgets by itself when either dict was truncated or reset.
 * Borrowed: both dicts must outlive it.
 *
 * 0 with the id. -EINVAL: `from` has no such id. -ENOSPC, -ENOMEM: `to` may have got a part of what
 * was asked for, which does no harm and which a truncate to an earlier mark takes back.
 */
struct dict_remap;

/* `to` may be NULL: then dict_remap_aim() comes before the first use. */
struct dict_remap *dict_remap_new(const struct dict *from, struct dict *to);
void dict_remap_free(struct dict_remap *remap);
DEFINE_AUTO(dict_remap);

/* From now on into another dict; the one before may be gone. Nothing happens when it is the same.
 */
void dict_remap_aim(struct dict_remap *remap, struct dict *to);

/*
 * Looks for the frames and nodes that `from` got since the last time, as long as a good part of
 * them is there, and adds nothing. For whoever will ask for nearly all of them, most of which `to`
 * has: going through memory in order, they take a part of the time that they take as the ways of
 * single stacks. -ENOMEM.
 */
int dict_remap_seek(struct dict_remap *remap);

int dict_remap_string(struct dict_remap *remap, uint32_t id, uint32_t *ret_id);
int dict_remap_frame(struct dict_remap *remap, uint32_t id, uint32_t *ret_id);
/* So many, which are together in a part of the time: dict_remap_frame() then finds them. */
int dict_remap_frames(struct dict_remap *remap, const uint32_t *ids, uint32_t count);
int dict_remap_node(struct dict_remap *remap, uint32_t id, uint32_t *ret_id);
/*
 * Each as dict_remap_node() in this order, to the same ids; dict_remap_known_nodes() has them then.
 * Many together take a part of the time that they take one by one.
 */
int dict_remap_nodes(struct dict_remap *remap, const uint32_t *ids, uint32_t count);
/* The deepest ancestor that `to` has, or the node itself: adds nothing. -EINVAL, -ENOMEM. */
int dict_remap_ancestor(
        struct dict_remap *remap, uint32_t id, uint32_t *ret_id, bool *ret_is_itself);
int dict_remap_series(struct dict_remap *remap, uint32_t id, uint32_t *ret_id);

/*
 * For long runs of nodes most of which were asked for before: by id of `from` the id of `to`, or
 * ID_NONE, so many. Borrowed until the next call with this remap.
 */
const uint32_t *dict_remap_known_nodes(struct dict_remap *remap, uint32_t *ret_count);

/*
 * Forgets translations to ids that `to` no longer has, right after dict_truncate(to, mark). Without
 * it everything is forgotten at the next use, and learned again: correct, but slower.
 */
void dict_remap_truncate(struct dict_remap *remap, struct dict_mark to);
