#pragma once

/*
 * dict_deltas reads a generation of the dictionary from kv, delta after delta: what a delta says of
 * stacks in one family, and its text, where that is apart, under the same key in another. Both are
 * gone over in step, each once.
 *
 * One thread owns it, within one visit to the gate.
 */

#include <stdint.h>

#include "storage/keys.h"
#include "storage/kv.h"
#include "storage/record.h"

struct dict_deltas {
	struct kv_iterator *deltas;
	struct kv_iterator *texts;
	bool is_begun;
	struct key_dict next;
};

/* From this delta on to the end of its generation. -ENOMEM. fini also after a failure. */
int dict_deltas_init(struct dict_deltas *deltas, struct kv *kv, struct key_dict first);
void dict_deltas_fini(struct dict_deltas *deltas);

/*
 * The next one, which must be there with all that belongs to it, into a dict that stands where its
 * writer's stood. 1, with how many bytes it is of; 0: there are no more. -EBADMSG and others as
 * record_get_dict(), and what kv says. -EBADMSG also where
 * there are no more but texts of such.
 */
int dict_deltas_next(struct dict_deltas *deltas, struct dict_packer *packer, struct dict *dict,
        uint64_t *ret_bytes);
