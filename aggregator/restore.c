/* The path of a backup is the folder of backups and its name there. */

#include "aggregator/restore.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "storage/store_backup.h"

#define RESTORE_EXIT_FAILED 5

int restore_store(const struct aggregator_config *config)
{
	char error[512] = "";
	char folder[4096];
	char name[BACKUP_NAME_BYTES_MAX + 2];
	const char *path = config->restore;
	size_t count = strlen(path);
	while (count > 1 && path[count - 1] == '/')
		count--;
	size_t first = count;
	while (first > 0 && path[first - 1] != '/')
		first--;
	(void)snprintf(name, sizeof(name), "%.*s", (int)(count - first), path + first);
	size_t above = first > 1 ? first - 1 : 1; /* without the slash, unless it is all of it */
	int fits = snprintf(folder, sizeof(folder), "%.*s", (int)above, first > 0 ? path : ".");
	struct store_backup_options options = { .folder = folder, .name = name };
	int r = fits < 0 || (size_t)fits >= sizeof(folder) ? -ENAMETOOLONG : 0;
	r = r < 0 ? r : store_backup_restore(options, config->data, error, sizeof(error));
	if (r < 0) {
		fprintf(stderr, "profleet-aggregator: --restore %s: %s\n", path,
		        error[0] ? error : strerror(-r));
		return RESTORE_EXIT_FAILED;
	}
	printf("restored %s to %s\n", path, config->data);
	return 0;
}
