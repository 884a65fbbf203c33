/*
 * The encoding is the dict once, then per side the completeness and the columns:
 *
 *	version | sides | dict | side A: fields, losses, columns | side B ...
 *
 * Version 2 has further columns behind those of each side, and a number at its end. It is written
 * only where there is something to say in it.
 *
 * Completeness is a counted list of numbers in the order of `completeness_fields`, and a counted
 * list of losses by reason. Both only ever grow at their end: a reader takes what it knows and
 * skips the rest, a writer of fewer leaves the reader zeroes.
 */

#include "profile/answer.h"

#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define ANSWER_VERSION_PLAIN      1
#define ANSWER_VERSION_PARTS      2
#define ANSWER_VERSION_UNREADABLE 3 /* parts, and names of what could not be read */
/* More than any version will have; a list that claims more is not one. */
#define ANSWER_FIELDS_MAX 1024
/* Those that are always there; of the others as many as it takes to say what is not 0. */
#define ANSWER_FIELDS_MIN 21

/* Append only: the place is the meaning. */
static const struct completeness_field {
	size_t offset;
	size_t bytes; /* 4 or 8 */
} completeness_fields[] = {
#define COMPLETENESS_FIELD(name)                                                                   \
	{                                                                                          \
		offsetof(struct completeness, name), sizeof(((struct completeness *)0)->name)      \
	}
	COMPLETENESS_FIELD(value),
	COMPLETENESS_FIELD(value_truncated),
	COMPLETENESS_FIELD(value_unknown_leaf),
	COMPLETENESS_FIELD(samples),
	COMPLETENESS_FIELD(intervals),
	COMPLETENESS_FIELD(missing_ns),
	COMPLETENESS_FIELD(coverage_ns),
	COMPLETENESS_FIELD(instances),
	COMPLETENESS_FIELD(series),
	COMPLETENESS_FIELD(observers),
	COMPLETENESS_FIELD(has_recorded),
	COMPLETENESS_FIELD(first_ns),
	COMPLETENESS_FIELD(last_ns),
	COMPLETENESS_FIELD(period_min),
	COMPLETENESS_FIELD(period_max),
	COMPLETENESS_FIELD(corrupt),
	COMPLETENESS_FIELD(value_folded),
	COMPLETENESS_FIELD(windows_unanswerable),
	COMPLETENESS_FIELD(unanswerable_ns),
	COMPLETENESS_FIELD(resolution_finest_ns),
	COMPLETENESS_FIELD(resolution_coarsest_ns),
	COMPLETENESS_FIELD(samples_folded),
	COMPLETENESS_FIELD(value_capped),
	COMPLETENESS_FIELD(samples_capped),
	COMPLETENESS_FIELD(corrupt_replaced),
	COMPLETENESS_FIELD(cut_begin_ns),
	COMPLETENESS_FIELD(cut_end_ns),
	COMPLETENESS_FIELD(windows_collapsed),
	COMPLETENESS_FIELD(collapsed_from_ns),
	COMPLETENESS_FIELD(collapsed_to_ns),
};

struct answer *answer_new(uint32_t sides_count)
{
	assert(sides_count > 0 && sides_count <= ANSWER_SIDES_MAX);

	AUTO(answer) answer = calloc(1, sizeof(*answer));
	if (!answer)
		return NULL;
	answer->sides_count = sides_count;
	answer->dict = dict_new(dict_limits_default);
	if (!answer->dict)
		return NULL;
	for (uint32_t i = 0; i < sides_count; i++) {
		answer->sides[i].batch = batch_new(answer->dict);
		if (!answer->sides[i].batch)
			return NULL;
	}
	return TAKE(answer);
}

void answer_free(struct answer *answer)
{
	if (!answer)
		return;
	for (uint32_t i = 0; i < answer->sides_count; i++) {
		batch_free(answer->sides[i].batch);
		for (int part = 0; part < ANSWER_PARTS; part++)
			batch_free(answer->sides[i].parts[part]);
	}
	dict_free(answer->dict);
	free(answer);
}

int answer_add_part(struct answer *answer, uint32_t side, enum answer_part part)
{
	assert(side < answer->sides_count && !answer->sides[side].parts[part]);
	answer->sides[side].parts[part] = batch_new(answer->dict);
	return answer->sides[side].parts[part] ? 0 : -ENOMEM;
}

/* A bit for each part that is there. */
static uint64_t answer_parts(const struct answer_side *side)
{
	uint64_t parts = 0;
	for (int part = 0; part < ANSWER_PARTS; part++)
		parts |= (uint64_t)(side->parts[part] != NULL) << part;
	return parts;
}

static uint64_t completeness_field(const struct completeness *completeness, size_t index)
{
	const char *at = (const char *)completeness + completeness_fields[index].offset;
	return completeness_fields[index].bytes == 4 ? *(const uint32_t *)(const void *)at
	                                             : *(const uint64_t *)(const void *)at;
}

static void completeness_encode(const struct completeness *completeness, struct buf *to)
{
	size_t count = COUNT_OF(completeness_fields);
	while (count > ANSWER_FIELDS_MIN && completeness_field(completeness, count - 1) == 0)
		count--;
	buf_put_varint(to, count);
	for (size_t i = 0; i < count; i++)
		buf_put_varint(to, completeness_field(completeness, i));
	buf_put_varint(to, COUNT_OF(completeness->lost));
	for (size_t i = 0; i < COUNT_OF(completeness->lost); i++)
		buf_put_varint(to, completeness->lost[i]);
}

static void completeness_decode(struct completeness *completeness, struct reader *from)
{
	uint64_t count = reader_varint_max(from, ANSWER_FIELDS_MAX);

	for (uint64_t i = 0; i < count; i++) {
		if (i >= COUNT_OF(completeness_fields)) {
			(void)reader_varint(from);
			continue;
		}
		char *at = (char *)completeness + completeness_fields[i].offset;
		if (completeness_fields[i].bytes == 4)
			*(uint32_t *)(void *)at = (uint32_t)reader_varint_max(from, UINT32_MAX);
		else
			*(uint64_t *)(void *)at = reader_varint(from);
	}

	/* A reason from the future has no name here, but its samples are missing all the same. */
	count = reader_varint_max(from, ANSWER_FIELDS_MAX);
	for (uint64_t i = 0; i < count; i++) {
		uint64_t lost = reader_varint(from);
		uint64_t *sum = &completeness->lost[i < COUNT_OF(completeness->lost) ? i : 0];
		if (__builtin_add_overflow(*sum, lost, sum))
			*sum = UINT64_MAX;
	}
}

static void unreadable_encode(const struct completeness *completeness, struct buf *to)
{
	assert(completeness->unreadable_count <= ANSWER_UNREADABLE_MAX);
	buf_put_varint(to, completeness->unreadable_count);
	for (uint32_t i = 0; i < completeness->unreadable_count; i++) {
		const struct unreadable *one = &completeness->unreadable[i];
		buf_put_varint(to, one->from_ns);
		buf_put_varint(to, one->to_ns);
		buf_put_string(to, one->service, strlen(one->service));
		buf_put_string(to, one->type, strlen(one->type));
		buf_put_string(to, one->what, strlen(one->what));
	}
}

static void unreadable_decode_text(char text[ANSWER_TEXT_BYTES], struct reader *from)
{
	size_t count = 0;
	const char *bytes = reader_string(from, ANSWER_TEXT_BYTES - 1, &count);
	if (!bytes || (count && memchr(bytes, 0, count)))
		reader_fail(from);
	else if (count)
		memcpy(text, bytes, count);
}

static void unreadable_decode(struct completeness *completeness, struct reader *from)
{
	uint32_t count = (uint32_t)reader_varint_max(from, ANSWER_UNREADABLE_MAX);
	for (uint32_t i = 0; i < count && !from->failed; i++) {
		struct unreadable *one = &completeness->unreadable[i];
		one->from_ns = reader_varint(from);
		one->to_ns = reader_varint(from);
		unreadable_decode_text(one->service, from);
		unreadable_decode_text(one->type, from);
		unreadable_decode_text(one->what, from);
	}
	completeness->unreadable_count = from->failed ? 0 : count;
}

static uint64_t answer_version(const struct answer *answer)
{
	bool has_parts = answer->names_rewritten > 0;
	bool has_unreadable = false;
	for (uint32_t i = 0; i < answer->sides_count; i++) {
		has_parts |= answer_parts(&answer->sides[i]) != 0;
		has_unreadable |= answer->sides[i].completeness.unreadable_count > 0;
	}
	return has_unreadable ? ANSWER_VERSION_UNREADABLE
	       : has_parts    ? ANSWER_VERSION_PARTS
	                      : ANSWER_VERSION_PLAIN;
}

void answer_encode(const struct answer *answer, struct buf *to)
{
	uint64_t version = answer_version(answer);
	bool has_parts = version >= ANSWER_VERSION_PARTS;

	buf_put_varint(to, version);
	buf_put_varint(to, answer->sides_count);
	dict_encode(answer->dict, (struct dict_mark){ 0 }, to);
	for (uint32_t i = 0; i < answer->sides_count; i++) {
		const struct answer_side *side = &answer->sides[i];
		assert(side->batch->dict == answer->dict);
		completeness_encode(&side->completeness, to);
		batch_encode(side->batch, to);
		if (has_parts)
			buf_put_varint(to, answer_parts(side));
		for (int part = 0; part < ANSWER_PARTS; part++)
			if (side->parts[part])
				batch_encode(side->parts[part], to);
		if (version >= ANSWER_VERSION_UNREADABLE)
			unreadable_encode(&side->completeness, to);
	}
	if (has_parts)
		buf_put_varint(to, answer->names_rewritten);
}

static int answer_decode_side(
        struct answer *answer, uint32_t index, uint64_t version, struct reader *from)
{
	bool has_parts = version >= ANSWER_VERSION_PARTS;
	completeness_decode(&answer->sides[index].completeness, from);
	int result = batch_decode(answer->sides[index].batch, from);
	uint64_t parts = result == 0 && has_parts
	                         ? reader_varint_max(from, (UINT64_C(1) << ANSWER_PARTS) - 1)
	                         : 0;
	for (int part = 0; part < ANSWER_PARTS && result == 0; part++) {
		if (!(parts & UINT64_C(1) << part))
			continue;
		result = answer_add_part(answer, index, (enum answer_part)part);
		if (result == 0)
			result = batch_decode(answer->sides[index].parts[part], from);
	}
	if (result == 0 && version >= ANSWER_VERSION_UNREADABLE)
		unreadable_decode(&answer->sides[index].completeness, from);
	return result;
}

int answer_decode(struct reader *from, struct answer **ret_answer)
{
	uint64_t version = reader_varint(from);
	uint64_t sides_count = reader_varint(from);
	bool has_parts = version >= ANSWER_VERSION_PARTS;

	if (from->failed || version < ANSWER_VERSION_PLAIN || version > ANSWER_VERSION_UNREADABLE ||
	        sides_count == 0 || sides_count > ANSWER_SIDES_MAX)
		return -EBADMSG;
	AUTO(answer) answer = answer_new((uint32_t)sides_count);
	if (!answer)
		return -ENOMEM;

	int result = dict_decode(answer->dict, from);
	for (uint32_t i = 0; result == 0 && i < answer->sides_count; i++)
		result = answer_decode_side(answer, i, version, from);
	if (result == 0 && has_parts)
		answer->names_rewritten = reader_varint(from);
	if (result == 0 && (from->failed || reader_left(from) > 0))
		result = -EBADMSG;
	/* An answer has no limits but those of a dict: past them it is no answer. */
	if (result == -ENOSPC)
		result = -EBADMSG;
	if (result < 0)
		return result;

	*ret_answer = TAKE(answer);
	return 0;
}
