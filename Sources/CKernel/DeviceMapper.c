#define _GNU_SOURCE
#include "CKernel.h"

#include <errno.h>
#include <linux/dm-ioctl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

// The commands of this header have the numbers of <linux/dm-ioctl.h>.
_Static_assert(+ck_dm_create == +DM_DEV_CREATE_CMD && +ck_dm_remove == +DM_DEV_REMOVE_CMD, "device");
_Static_assert(+ck_dm_suspend == +DM_DEV_SUSPEND_CMD && +ck_dm_device_status == +DM_DEV_STATUS_CMD, "device");
_Static_assert(+ck_dm_load == +DM_TABLE_LOAD_CMD && +ck_dm_table_status == +DM_TABLE_STATUS_CMD, "table");
_Static_assert(+ck_dm_message == +DM_TARGET_MSG_CMD, "message");
_Static_assert(
    ck_dm_is_read_only == DM_READONLY_FLAG && ck_dm_is_suspended == DM_SUSPEND_FLAG
        && ck_dm_has_table == DM_ACTIVE_PRESENT_FLAG && ck_dm_is_deferred == DM_DEFERRED_REMOVE,
    "flags");

enum { BUFFER_SIZE = 4096 };

static int has_room(const char *text, size_t size) { return !text || strlen(text) < size; }

int ck_device_mapper(
    int control, unsigned command, const char *name, const char *uuid, uint32_t flags, uint32_t event,
    const char *target_type, uint64_t length, const char *text, struct ck_dm_answer *answer) {
    union {
        struct dm_ioctl header;
        char bytes[BUFFER_SIZE];
    } buffer;
    memset(&buffer, 0, sizeof buffer);
    struct dm_ioctl *header = &buffer.header;
    // The lowest version of the interface: the kernel accepts any that is not later than its own.
    header->version[0] = DM_VERSION_MAJOR;
    header->data_size = sizeof buffer;
    header->data_start = sizeof *header;
    header->flags = flags;
    header->event_nr = event;
    char *data = buffer.bytes + header->data_start;
    size_t room = BUFFER_SIZE - header->data_start - sizeof(struct dm_target_spec);
    if (!has_room(name, sizeof header->name) || !has_room(uuid, sizeof header->uuid)
        || !has_room(target_type, DM_MAX_TYPE_NAME) || !has_room(text, room))
        return -ENAMETOOLONG;
    strcpy(header->name, name);
    if (uuid) strcpy(header->uuid, uuid);
    if (target_type) {
        struct dm_target_spec *target = (struct dm_target_spec *)data;
        target->length = length;
        strcpy(target->target_type, target_type);
        strcpy(data + sizeof *target, text);
        header->target_count = 1;
    } else if (text) {
        // struct dm_target_msg: the sector, then the message.
        strcpy(data + sizeof(struct dm_target_msg), text);
    }
    if (ioctl(control, _IOWR(DM_IOCTL, command, struct dm_ioctl), &buffer) < 0) return -errno;
    answer->flags = header->flags;
    answer->open_count = header->open_count;
    answer->device = header->dev;
    memcpy(answer->uuid, header->uuid, sizeof answer->uuid);
    answer->uuid[sizeof answer->uuid - 1] = 0;
    answer->target_type[0] = answer->text[0] = 0;
    answer->length = 0;
    if (command != DM_TABLE_STATUS_CMD || header->target_count == 0) return 0;
    if (header->flags & DM_BUFFER_FULL_FLAG) return -E2BIG;
    const struct dm_target_spec *target = (const struct dm_target_spec *)(buffer.bytes + header->data_start);
    answer->length = target->length;
    snprintf(answer->target_type, sizeof answer->target_type, "%.*s", DM_MAX_TYPE_NAME, target->target_type);
    snprintf(answer->text, sizeof answer->text, "%s", (const char *)(target + 1));
    return 0;
}
