/*
 *	... blocks ... | footer of 53 bytes
 *
 *	footer       u8 kind of checksum | handle of the meta index | handle of the index | zeroes
 *	             up to 41 bytes | u32 version | u64 magic
 *	handle       varint offset, varint bytes
 *	block        bytes, then u8 compression, then u32 checksum of both
 *	block's bytes   entries, then u32 for each restart, then u32 count of restarts
 *	entry        varint shared with the key before, varint not shared, varint bytes of the
 *	             value, the rest of the key, the value
 *
 * The meta index has handles by name; "rocksdb.properties" is the one that is looked for.
 */

#include "storage/table_file.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/auto.h"
#include "core/hash.h"
#include "core/reader.h"

#define TABLE_FOOTER_BYTES   53
#define TABLE_HANDLES_END    41
#define TABLE_MAGIC          UINT64_C(0x88e241b785f4cff7)
#define TABLE_VERSION_MIN    2
#define TABLE_VERSION_MAX    5
#define TABLE_CHECKSUM_XXH3  4
#define TABLE_CHECKSUM_PRIME 0x6b9083d9u
#define TABLE_TRAILER_BYTES  5
#define TABLE_META_BYTES_MAX (1u << 20)
#define TABLE_PROPERTIES     "rocksdb.properties"
#define TABLE_SEQUENCE       "global_seqno" /* the end of a property's name, 8 bytes behind it */
#define TABLE_SEQUENCE_BYTES 8

struct table_handle {
	uint64_t offset;
	uint64_t bytes;
};

static struct table_handle table_get_handle(struct reader *reader)
{
	struct table_handle handle;
	handle.offset = reader_varint(reader);
	handle.bytes = reader_varint(reader);
	return handle;
}

/* With its trailer, on the heap. */
static int table_read_block(
        int fd, struct table_handle handle, uint64_t file_bytes, uint8_t **ret_bytes)
{
	if (handle.bytes > TABLE_META_BYTES_MAX || handle.offset > file_bytes ||
	        handle.bytes + TABLE_TRAILER_BYTES > file_bytes - handle.offset)
		return -EBADMSG;
	size_t count = handle.bytes + TABLE_TRAILER_BYTES;
	autofree uint8_t *bytes = malloc(count);
	if (!bytes)
		return -ENOMEM;
	ssize_t got = pread(fd, bytes, count, (off_t)handle.offset);
	if (got < 0)
		return -errno;
	if ((size_t)got != count)
		return -EBADMSG;
	*ret_bytes = TAKE(bytes);
	return 0;
}

static bool table_block_is_good(const uint8_t *bytes, uint64_t count)
{
	assert(bytes);
	/* The compression is the last byte that is covered; it is not hashed but mixed in. */
	uint32_t expected = (uint32_t)hash64_bytes(bytes, count) ^
	                    bytes[count] * TABLE_CHECKSUM_PRIME;
	struct reader trailer = reader_of(bytes + count + 1, 4);
	return reader_u32(&trailer) == expected;
}

/* A number that was written into the properties after their checksum was made counts as 0 in it. */
static bool table_clear_sequence(uint8_t *bytes, uint64_t count)
{
	uint8_t *at = memmem(bytes, count, TABLE_SEQUENCE, strlen(TABLE_SEQUENCE));
	if (!at || (size_t)(bytes + count - at) < strlen(TABLE_SEQUENCE) + TABLE_SEQUENCE_BYTES)
		return false;
	memset(at + strlen(TABLE_SEQUENCE), 0, TABLE_SEQUENCE_BYTES);
	return true;
}

/* In a block that was checked. -ENOENT: it has no such name. */
static int table_find_properties(
        const uint8_t *bytes, uint64_t count, struct table_handle *ret_handle)
{
	if (count < 4)
		return -EBADMSG;
	struct reader last = reader_of(bytes + count - 4, 4);
	uint64_t restarts = reader_u32(&last);
	if (restarts > (count - 4) / 4)
		return -EBADMSG;
	struct reader entries = reader_of(bytes, count - 4 - restarts * 4);
	while (!entries.failed && reader_left(&entries) > 0) {
		uint64_t shared = reader_varint(&entries);
		uint64_t rest = reader_varint(&entries);
		uint64_t value = reader_varint(&entries);
		if (rest > reader_left(&entries))
			return -EBADMSG;
		const void *name = reader_bytes(&entries, rest);
		if (!name || value > reader_left(&entries))
			return -EBADMSG;
		/* The meta index has a restart for each entry, so that nothing is shared. */
		if (shared == 0 && rest == strlen(TABLE_PROPERTIES) &&
		        memcmp(name, TABLE_PROPERTIES, rest) == 0) {
			*ret_handle = table_get_handle(&entries);
			return entries.failed ? -EBADMSG : 0;
		}
		(void)reader_bytes(&entries, value);
	}
	return -ENOENT;
}

static int table_check_properties(int fd, struct table_handle handle, uint64_t file_bytes)
{
	autofree uint8_t *bytes = NULL;
	int r = table_read_block(fd, handle, file_bytes, &bytes);
	if (r < 0)
		return r;
	if (table_block_is_good(bytes, handle.bytes))
		return 0;
	if (table_clear_sequence(bytes, handle.bytes) && table_block_is_good(bytes, handle.bytes))
		return 0;
	return -EBADMSG;
}

int table_file_check(int folder_fd, const char *name, struct table_place *ret_place)
{
	uint8_t footer[TABLE_FOOTER_BYTES];
	struct stat status;
	autoclose int fd = openat(folder_fd, name, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &status) < 0)
		return -errno;
	uint64_t file_bytes = (uint64_t)status.st_size;
	if (file_bytes < sizeof(footer) ||
	        pread(fd, footer, sizeof(footer), (off_t)(file_bytes - sizeof(footer))) !=
	                (ssize_t)sizeof(footer))
		return 0; /* RocksDB says that it is too short */
	struct reader end = reader_of(
	        footer + TABLE_HANDLES_END, sizeof(footer) - TABLE_HANDLES_END);
	uint32_t version = reader_u32(&end);
	uint64_t magic = reader_u64(&end);
	if (magic != TABLE_MAGIC || version < TABLE_VERSION_MIN || version > TABLE_VERSION_MAX)
		return 0;
	if (footer[0] != TABLE_CHECKSUM_XXH3)
		return footer[0] == 0 ? -EBADMSG : 0; /* without any nothing would be checked */

	struct reader handles = reader_of(footer + 1, TABLE_HANDLES_END - 1);
	struct table_handle meta = table_get_handle(&handles);
	struct table_handle properties = { 0 };
	autofree uint8_t *bytes = NULL;
	if (handles.failed)
		return 0;
	int r = table_read_block(fd, meta, file_bytes, &bytes);
	if (r == -EBADMSG || (r == 0 && !table_block_is_good(bytes, meta.bytes)))
		return 0; /* this one RocksDB checks */
	r = r < 0 ? r : table_find_properties(bytes, meta.bytes, &properties);
	if (r == -ENOENT)
		return 0;
	r = r < 0 ? r : table_check_properties(fd, properties, file_bytes);
	if (r == -EBADMSG)
		*ret_place = (struct table_place){ properties.offset,
			properties.offset + properties.bytes };
	return r;
}
