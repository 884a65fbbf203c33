/* A list of texts; files are known by nothing else before they are taken in. */

#include "storage/kv_made.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define KV_MADE_MAX 4096

int kv_made_add(struct kv_made *made, const char *folder, uint64_t number, const char **ret_name)
{
	if (made->count == KV_MADE_MAX)
		return -E2BIG;
	if (made->count == made->capacity) {
		size_t capacity = made->capacity ? made->capacity * 2 : 8;
		char **names = realloc(made->names, capacity * sizeof(*names));
		if (!names)
			return -ENOMEM;
		made->names = names;
		made->capacity = capacity;
	}
	size_t bytes = strlen(folder) + sizeof(KV_MADE_FIRST) + 24;
	char *name = malloc(bytes);
	if (!name)
		return -ENOMEM;
	snprintf(name, bytes, "%s/%s%" PRIu64, folder, KV_MADE_FIRST, number);
	made->names[made->count++] = name;
	*ret_name = name;
	return 0;
}

void kv_made_remove(const struct kv_made *made)
{
	for (size_t i = 0; i < made->count; i++)
		(void)unlink(made->names[i]);
}

void kv_made_fini(struct kv_made *made)
{
	for (size_t i = 0; i < made->count; i++)
		free(made->names[i]);
	free(made->names);
	*made = (struct kv_made){ 0 };
}
