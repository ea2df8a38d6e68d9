/* A libnvidia-ml.so.1 for tests: the functions that the monitors call, with the signatures of nvml.h (CUDA 12).
 * Card 0 has everything, card 1 lacks what a GeForce of the Pascal generation lacks, card 2 has nothing.
 * Environment: STUB_CARDS (3), STUB_NO_DRIVER, STUB_LOST (card 0 answers "GPU is lost" to all readings). */
#include <stdlib.h>
#include <string.h>

typedef int nvmlReturn_t;
typedef struct card { unsigned index; } *nvmlDevice_t;

enum { SUCCESS = 0, UNINITIALIZED = 1, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, INSUFFICIENT_SIZE = 7,
       DRIVER_NOT_LOADED = 9, GPU_IS_LOST = 15 };

static struct card cards[8];
static int users;
static unsigned long long energy_mj = 5000000000ULL; /* more than 32 bits */

const char *nvmlErrorString(nvmlReturn_t status) {
    switch (status) {
    case SUCCESS: return "The operation was successful";
    case UNINITIALIZED: return "Uninitialized";
    case NOT_SUPPORTED: return "Not Supported";
    case DRIVER_NOT_LOADED: return "Driver Not Loaded";
    case GPU_IS_LOST: return "GPU is lost";
    default: return "Invalid Argument";
    }
}

nvmlReturn_t nvmlInit_v2(void) {
    if (getenv("STUB_NO_DRIVER")) return DRIVER_NOT_LOADED;
    for (unsigned k = 0; k < 8; k++) cards[k].index = k;
    users++;
    return SUCCESS;
}

static int surplus;

nvmlReturn_t nvmlShutdown(void) {
    if (!users) {
        surplus++;
        return UNINITIALIZED;
    }
    users--;
    return SUCCESS;
}

/* Calls of nvmlInit_v2 less those of nvmlShutdown. */
int stub_users(void) { return users - surplus; }

nvmlReturn_t nvmlDeviceGetCount_v2(unsigned *count) {
    if (!users) return UNINITIALIZED;
    *count = getenv("STUB_CARDS") ? (unsigned)atoi(getenv("STUB_CARDS")) : 3;
    return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetHandleByIndex_v2(unsigned index, nvmlDevice_t *device) {
    if (!users) return UNINITIALIZED;
    if (index >= 8) return INVALID_ARGUMENT;
    *device = &cards[index];
    return SUCCESS;
}

static nvmlReturn_t text(const char *value, char *buffer, unsigned length) {
    if (strlen(value) >= length) return INSUFFICIENT_SIZE;
    strcpy(buffer, value);
    return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetName(nvmlDevice_t device, char *name, unsigned length) {
    static const char *names[] = {"Tesla V100-SXM2-16GB", "NVIDIA GeForce GTX 1080", "GRID virtual"};
    return text(names[device->index % 3], name, length);
}

nvmlReturn_t nvmlDeviceGetUUID(nvmlDevice_t device, char *uuid, unsigned length) {
    static const char *uuids[] = {"GPU-aaaa", "GPU-bbbb", "GPU-cccc"};
    return text(uuids[device->index % 3], uuid, length);
}

static nvmlReturn_t able(nvmlDevice_t device, unsigned first_without) {
    if (!users) return UNINITIALIZED;
    if (device->index == 0 && getenv("STUB_LOST")) return GPU_IS_LOST;
    return device->index >= first_without ? NOT_SUPPORTED : SUCCESS;
}

nvmlReturn_t nvmlDeviceGetTotalEnergyConsumption(nvmlDevice_t device, unsigned long long *energy) {
    nvmlReturn_t status = able(device, 1);
    if (status == SUCCESS) *energy = (energy_mj += 20);
    return status;
}

nvmlReturn_t nvmlDeviceGetPowerUsage(nvmlDevice_t device, unsigned *power) {
    nvmlReturn_t status = able(device, 2);
    if (status == SUCCESS) *power = 43210;
    return status;
}

nvmlReturn_t nvmlDeviceGetClockInfo(nvmlDevice_t device, int type, unsigned *clock) {
    nvmlReturn_t status = able(device, 2);
    if (status == SUCCESS) *clock = type == 1 ? 1530 : type == 2 ? 877 : 0;
    return status;
}

nvmlReturn_t nvmlDeviceGetTemperature(nvmlDevice_t device, int sensor, unsigned *celsius) {
    nvmlReturn_t status = able(device, 2);
    if (status == SUCCESS) *celsius = sensor == 0 ? 61 : 0;
    return status;
}

nvmlReturn_t nvmlDeviceGetCurrentClocksThrottleReasons(nvmlDevice_t device, unsigned long long *reasons) {
    nvmlReturn_t status = able(device, 2);
    if (status == SUCCESS) *reasons = 0x44;
    return status;
}
