/* The checksum covers all that follows it, so a torn or flipped file is seen as a whole. */

#include "agent/spool_file.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/hash.h"
#include "core/reader.h"

#define SPOOL_FILE_MAGIC   UINT32_C(0x50534650) /* "PFSP" */
#define SPOOL_FILE_VERSION 1
#define SPOOL_FILE_CHECKED 16 /* the checksum covers everything from here on */

void spool_file_format(const struct spool_file_name *name, char ret_text[SPOOL_FILE_NAME_BYTES])
{
	snprintf(ret_text, SPOOL_FILE_NAME_BYTES,
	        "%s-%016" PRIx64 "-%016" PRIx64 "-%" PRIu32 "-%u-%016" PRIx64 "-%" PRIu64
	        "-%" PRIu64 SPOOL_FILE_SUFFIX,
	        name->sent ? "sent" : "new", name->first, name->last, name->shards,
	        (unsigned int)name->shard, name->epoch, name->seq, name->samples);
}

int spool_file_parse(const char *text, struct spool_file_name *ret_name)
{
	struct spool_file_name name = { 0 };
	char again[SPOOL_FILE_NAME_BYTES];
	char state[5];

	if (sscanf(text,
	            "%4[a-z]-%16" SCNx64 "-%16" SCNx64 "-%10" SCNu32 "-%5" SCNu16 "-%16" SCNx64
	            "-%20" SCNu64 "-%20" SCNu64,
	            state, &name.first, &name.last, &name.shards, &name.shard, &name.epoch,
	            &name.seq, &name.samples) != 8)
		return -EINVAL;
	name.sent = !strcmp(state, "sent");

	/* What a number swallowed or left over shows when it is written again. */
	spool_file_format(&name, again);
	if (strcmp(text, again) || name.first > name.last || name.shards == 0 ||
	        name.shards > WIRE_SHARDS_MAX || name.shard >= name.shards ||
	        name.sent != (name.epoch != 0) || name.sent != (name.seq != 0))
		return -EINVAL;
	*ret_name = name;
	return 0;
}

void spool_file_encode(const struct spool_file *file, struct buf *to)
{
	size_t start = to->count;

	buf_put_u32(to, SPOOL_FILE_MAGIC);
	buf_put_u16(to, SPOOL_FILE_VERSION);
	buf_put_u16(to, 0);
	buf_put_u64(to, 0);
	buf_put(to, file->uuid.bytes, sizeof(file->uuid.bytes));
	buf_put_varint(to, file->samples);
	buf_put_varint(to, file->lost);
	buf_put_varint(to, file->start_ns);
	buf_put_varint(to, file->duration_ns);
	buf_put_string(to, file->replaces, file->replaces_count);
	buf_put(to, file->bytes, file->count);
	if (to->failed)
		return;

	const uint8_t *checked = to->bytes + start + SPOOL_FILE_CHECKED;
	uint64_t checksum = hash64_bytes(checked, to->count - start - SPOOL_FILE_CHECKED);
	for (size_t i = 0; i < sizeof(checksum); i++)
		to->bytes[start + 8 + i] = (uint8_t)(checksum >> (8 * i));
}

int spool_file_decode(const uint8_t *bytes, size_t count, struct spool_file *ret_file)
{
	struct reader reader = reader_of(bytes, count);
	struct spool_file file;
	uint32_t magic = reader_u32(&reader);
	uint16_t version = reader_u16(&reader);
	uint16_t zero = reader_u16(&reader);
	uint64_t checksum = reader_u64(&reader);

	if (reader.failed || magic != SPOOL_FILE_MAGIC || version != SPOOL_FILE_VERSION ||
	        zero != 0 ||
	        hash64_bytes(bytes + SPOOL_FILE_CHECKED, count - SPOOL_FILE_CHECKED) != checksum)
		return -EBADMSG;

	const uint8_t *uuid = reader_bytes(&reader, sizeof(file.uuid.bytes));
	if (!uuid)
		return -EBADMSG;
	memcpy(file.uuid.bytes, uuid, sizeof(file.uuid.bytes));
	file.samples = reader_varint(&reader);
	file.lost = reader_varint(&reader);
	file.start_ns = reader_varint(&reader);
	file.duration_ns = reader_varint(&reader);
	file.replaces = reader_string(&reader, SPOOL_FILE_NAME_BYTES - 1, &file.replaces_count);
	if (reader.failed || memchr(file.replaces, '/', file.replaces_count) ||
	        memchr(file.replaces, 0, file.replaces_count))
		return -EBADMSG;
	file.count = reader_left(&reader);
	file.bytes = reader_bytes(&reader, file.count);
	*ret_file = file;
	return 0;
}
