#pragma once

/*
 * dict_packer writes what was added to a dict in a fraction of the bytes of dict_encode(), for
 * whoever keeps all of a dict, delta after delta, and reads them in that order: the store.
 *
 * It foretells each node from all those before it: what was called the last time in this place
 * (also by another build, whose addresses differ), which frames of a module are often seen. So
 * what it writes depends on the nodes that the dict has, and on nothing else: any packer that went
 * over the same nodes writes the same. It goes over what it has not seen when it is asked to write
 * or read (some 60 ns for each node), and begins anew when it has seen what the dict has no more.
 *
 * One thread owns a packer, and the dict while it is used. Memory: 5 MiB, taken with the first use,
 * 8 bytes for each frame and 8 for each string that is a function or a file.
 */

#include "core/auto.h"
#include "profile/dict.h"

struct dict_packer;

struct dict_packer *dict_packer_new(void);
void dict_packer_free(struct dict_packer *packer);
DEFINE_AUTO(dict_packer);

/*
 * Nodes behind the mark will not be what they were: whoever takes back or adds some without the
 * packer says so before. Costs nothing unless they were seen.
 */
void dict_packer_forget(struct dict_packer *packer, struct dict_mark mark);
/* How many nodes up to the mark it would have to go over first. */
uint32_t dict_packer_unseen(const struct dict_packer *packer, struct dict_mark mark);
size_t dict_packer_memory(const struct dict_packer *packer);

/*
 * Appends everything added since `from` (docs/formats/dict.md, packed). Its text (strings, modules
 * and series) goes to `text`: to the same buf, or to one that is kept apart, as text is worth
 * packing with other text and the rest is not worth any.
 */
void dict_encode_packed(struct dict_packer *packer, const struct dict *dict, struct dict_mark from,
        struct buf *text, struct buf *to);

/*
 * Appends what dict_encode_packed wrote, all that is left of the readers, which are one where it
 * was one buf, to a dict that stands at the same mark. -EBADMSG: not an encoding, or not the next
 * one; the dict is as before. -ENOSPC, -ENOMEM: likewise.
 */
int dict_decode_packed(
        struct dict_packer *packer, struct dict *dict, struct reader *text, struct reader *from);
