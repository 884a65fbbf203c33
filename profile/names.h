#pragma once

/*
 * names gives each function of an answer a small id: its readable name and the base name of its
 * module, which is the key two sides are joined by. Build-ids and addresses are never part of it.
 *
 * Native names come from symbol tables and are demangled; names of kernel frames, and those that
 * a runtime or an imported file gave, are shown as they came. A frame without a name is "[unknown]"
 * of its module.
 *
 * One set of names serves several dicts (the sides of a diff). One thread owns it.
 */

#include <stdint.h>

#include "core/auto.h"
#include "profile/dict.h"

struct names;

struct names *names_new(void); /* NULL: out of memory */
void names_free(struct names *names);
DEFINE_AUTO(names);

/* From here on functions are called by their canonical names (profile/canon.h). Before any name. */
void names_use_canon(struct names *names);
uint64_t names_rewritten(const struct names *names); /* frames for which that made a difference */

/* The id of each frame of the dict, an array the caller frees. -ENOMEM, -ENOSPC (past 2^32 names).
 */
int names_of_dict(struct names *names, const struct dict *dict, uint32_t **ret_ids);

/* The same where the dict's names were made by another set of names, and stay as they are. */
int names_of_readable(struct names *names, const struct dict *dict, uint32_t **ret_ids);

/* Of one frame, for who follows a dict that grows. */
int names_of_frame(struct names *names, const struct dict *dict, uint32_t frame, uint32_t *ret_id);
size_t names_memory(const struct names *names);

uint32_t names_count(const struct names *names);

/* Borrowed until more names come. Not safe for a terminal: see query/text.h. Module "" is none. */
const char *names_function(const struct names *names, uint32_t id);
const char *names_module(const struct names *names, uint32_t id);
bool names_is_unknown(const struct names *names, uint32_t id);

/* enum frame_kind of the first frame that was called so. */
uint8_t names_kind(const struct names *names, uint32_t id);

/* By bytes of the function, then of the module. */
int names_compare(const struct names *names, uint32_t a, uint32_t b);

/* How one frame is called in a line of text: with "[unknown] module" written out. */
struct buf;
void names_put(const struct names *names, uint32_t id, struct buf *to);

/* A frame_name of profile/folded.h: demangled as above. */
const char *names_frame_name(const struct dict *dict, uint32_t frame, struct buf *scratch);
