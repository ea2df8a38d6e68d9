/* A stand-in for NVIDIA's libcuda.so.1 with its memory on the host: what edgestill calls, itself or by pycuda.
 *
 * It is as strict as the driver about what a mistake in the order of calls would show: objects belong to a context,
 * a context must be current in the thread and retained, work that is put into a stream is done when the stream is
 * waited for, and a captured stream records. What is left when the process ends is reported on standard error.
 *
 * STUB_CUDA_DEVICES (default 1) and STUB_CUDA_INTEGRATED (default 0) describe the machine.
 * REST is defined to a file with the other functions that pycuda links to; each returns CUDA_ERROR_NOT_SUPPORTED.
 *
 * Source: https://docs.nvidia.com/cuda/cuda-driver-api/
 */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef int Status;
enum {
    OK = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, NOT_INITIALIZED = 3, NO_DEVICE = 100, INVALID_DEVICE = 101,
    INVALID_CONTEXT = 201, INVALID_HANDLE = 400, NOT_READY = 600, NOT_SUPPORTED = 801,
    CAPTURE_UNSUPPORTED = 900, CAPTURE_INVALIDATED = 901
};
enum { MAX_DEVICES = 16, MAX_DEPTH = 64, DEVICE_MAP = 2 };
static const size_t LARGEST = (size_t)1 << 34; /* bytes of one allocation */

typedef enum { MEMORY, HOST_MEMORY, STREAM, EVENT, GRAPH, EXECUTABLE } Kind;
static const char *const KINDS[] = {"memory", "host memory", "stream", "event", "graph", "executable graph"};

typedef struct Object Object;

/* One piece of work: a copy (source), a memset (source NULL), the record of an event, or a function of the host. */
typedef struct Work {
    void *target;
    const void *source;
    int value;
    size_t size;
    Object *event;
    void (*function)(void *);
    struct Work *next;
} Work;

struct Object {
    Kind kind;
    int device;
    void *data; /* of memory */
    unsigned flags;
    int recorded, capturing, invalidated;
    Work *work, *captured;
    Object *next;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static Object *objects;
static int retained[MAX_DEVICES];
static int contexts[MAX_DEVICES]; /* the address is the handle */
static int initialised;
static __thread int *stack[MAX_DEPTH];
static __thread int depth;

static int setting(const char *name, int otherwise) {
    const char *text = getenv(name);
    return text ? atoi(text) : otherwise;
}

static int devices(void) { return setting("STUB_CUDA_DEVICES", 1); }

/* The device of the current context; -1 if none is current, or its context was released. */
static int device(void) {
    if (!depth) return -1;
    int found = (int)(stack[depth - 1] - contexts);
    return retained[found] ? found : -1;
}

static Object *find(Kind kind, const void *handle) {
    for (Object *o = objects; o; o = o->next)
        if (o->kind == kind && (o == handle || (o->data && o->data == handle)) && o->device == device()) return o;
    return NULL;
}

static Object *make(Kind kind) {
    Object *made = calloc(1, sizeof *made);
    made->kind = kind;
    made->device = device();
    made->next = objects;
    objects = made;
    return made;
}

static Status destroy(Kind kind, const void *handle) {
    Object *gone = find(kind, handle);
    if (!gone) return kind == MEMORY || kind == HOST_MEMORY ? INVALID_VALUE : INVALID_HANDLE;
    for (Object **o = &objects; *o; o = &(*o)->next)
        if (*o == gone) {
            *o = gone->next;
            break;
        }
    free(gone->data);
    free(gone);
    return OK;
}

static void append(Work **list, Work work) {
    while (*list) list = &(*list)->next;
    *list = malloc(sizeof work);
    **list = work;
    (*list)->next = NULL;
}

static Status enqueue(const void *stream, Work work) {
    Object *o = find(STREAM, stream);
    if (!o) return INVALID_HANDLE;
    append(o->capturing ? &o->captured : &o->work, work);
    return OK;
}

static void finish(Object *stream) {
    for (Work *w = stream->work, *next; w; w = next) {
        next = w->next;
        if (w->event) w->event->recorded = 1;
        else if (w->function) w->function(w->target);
        else if (w->source) memcpy(w->target, w->source, w->size);
        else memset(w->target, w->value, w->size);
        free(w);
    }
    stream->work = NULL;
}

/* A function that needs cuInit, and one that needs a current context; the last argument is the body. */
#define CALL(name, arguments, ...) \
    Status name arguments { \
        pthread_mutex_lock(&lock); \
        Status status = initialised ? OK : NOT_INITIALIZED; \
        if (status == OK) __VA_ARGS__ \
        pthread_mutex_unlock(&lock); \
        return status; \
    }
#define IN_CONTEXT(name, arguments, ...) \
    CALL(name, arguments, { if (device() < 0) status = INVALID_CONTEXT; else __VA_ARGS__ })

Status cuInit(unsigned flags) {
    if (flags) return INVALID_VALUE;
    if (!devices()) return NO_DEVICE;
    initialised = 1;
    return OK;
}

Status cuDriverGetVersion(int *version) {
    *version = 13000;
    return OK;
}

static const char *name_of(Status status, const char **text) {
    static const struct { Status status; const char *name, *text; } known[] = {
        {OK, "CUDA_SUCCESS", "no error"},
        {INVALID_VALUE, "CUDA_ERROR_INVALID_VALUE", "invalid argument"},
        {OUT_OF_MEMORY, "CUDA_ERROR_OUT_OF_MEMORY", "out of memory"},
        {NOT_INITIALIZED, "CUDA_ERROR_NOT_INITIALIZED", "initialization error"},
        {NO_DEVICE, "CUDA_ERROR_NO_DEVICE", "no CUDA-capable device is detected"},
        {INVALID_DEVICE, "CUDA_ERROR_INVALID_DEVICE", "invalid device ordinal"},
        {INVALID_CONTEXT, "CUDA_ERROR_INVALID_CONTEXT", "invalid device context"},
        {INVALID_HANDLE, "CUDA_ERROR_INVALID_HANDLE", "invalid resource handle"},
        {NOT_READY, "CUDA_ERROR_NOT_READY", "device not ready"},
        {NOT_SUPPORTED, "CUDA_ERROR_NOT_SUPPORTED", "operation not supported"},
        {CAPTURE_UNSUPPORTED, "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED",
         "operation not permitted when stream is capturing"},
        {CAPTURE_INVALIDATED, "CUDA_ERROR_STREAM_CAPTURE_INVALIDATED",
         "operation failed due to a previous error during capture"},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (known[i].status == status) {
            *text = known[i].text;
            return known[i].name;
        }
    *text = NULL;
    return NULL;
}

Status cuGetErrorName(Status status, const char **name) {
    const char *text;
    *name = name_of(status, &text);
    return *name ? OK : INVALID_VALUE;
}

Status cuGetErrorString(Status status, const char **text) { return name_of(status, text) ? OK : INVALID_VALUE; }

CALL(cuDeviceGetCount, (int *count), { *count = devices(); })

CALL(cuDeviceGet, (int *found, int ordinal), {
    if (ordinal < 0 || ordinal >= devices()) status = INVALID_DEVICE;
    else *found = ordinal;
})

CALL(cuDeviceGetName, (char *name, int length, int which), {
    snprintf(name, (size_t)length, "Stub GPU %d", which);
})

CALL(cuDeviceGetAttribute, (int *value, int attribute, int which), {
    (void)which;
    switch (attribute) {
    case 16: *value = 8; break;                                     /* multiprocessors */
    case 18: *value = setting("STUB_CUDA_INTEGRATED", 0); break;    /* integrated */
    case 19: *value = 1; break;                                     /* can map host memory */
    case 75: *value = 8; break;                                     /* compute capability 8.7, as Orin */
    case 76: *value = 7; break;
    default: status = INVALID_VALUE;
    }
})

CALL(cuDevicePrimaryCtxRetain, (void **context, int which), {
    retained[which]++;
    *context = &contexts[which];
})

CALL(cuDevicePrimaryCtxRelease_v2, (int which), {
    if (!retained[which]) status = INVALID_CONTEXT;
    else retained[which]--;
})

CALL(cuDevicePrimaryCtxGetState, (int which, unsigned *flags, int *active), {
    *flags = 0;
    *active = retained[which] > 0;
})

CALL(cuCtxPushCurrent_v2, (void *context), {
    int *pushed = context;
    if (!pushed || depth == MAX_DEPTH || !retained[pushed - contexts]) status = INVALID_CONTEXT;
    else stack[depth++] = pushed;
})

CALL(cuCtxPopCurrent_v2, (void **context), {
    if (!depth) status = INVALID_CONTEXT;
    else *context = stack[--depth];
})

CALL(cuCtxGetCurrent, (void **context), { *context = depth ? stack[depth - 1] : NULL; })

CALL(cuCtxGetDevice, (int *found), {
    if (device() < 0) status = INVALID_CONTEXT;
    else *found = device();
})

static Status allocate(Kind kind, void **address, size_t size, unsigned flags) {
    if (!size) return INVALID_VALUE;
    if (size > LARGEST) return OUT_OF_MEMORY;
    Object *made = make(kind);
    made->data = calloc(1, size);
    made->flags = flags;
    *address = made->data;
    return OK;
}

IN_CONTEXT(cuMemAlloc_v2, (uint64_t *address, size_t size), {
    status = allocate(MEMORY, (void **)address, size, 0);
})

IN_CONTEXT(cuMemFree_v2, (uint64_t address), { status = destroy(MEMORY, (void *)address); })

IN_CONTEXT(cuMemHostAlloc, (void **address, size_t size, unsigned flags), {
    status = allocate(HOST_MEMORY, address, size, flags);
})

IN_CONTEXT(cuMemHostGetDevicePointer_v2, (uint64_t *address, void *host, unsigned flags), {
    Object *o = find(HOST_MEMORY, host);
    if (!o || flags || !(o->flags & DEVICE_MAP)) status = INVALID_VALUE;
    else *address = (uint64_t)o->data;
})

IN_CONTEXT(cuMemFreeHost, (void *address), { status = destroy(HOST_MEMORY, address); })

IN_CONTEXT(cuMemcpyHtoDAsync_v2, (uint64_t target, const void *source, size_t size, void *stream), {
    status = enqueue(stream, (Work){.target = (void *)target, .source = source, .size = size});
})

IN_CONTEXT(cuMemcpyDtoHAsync_v2, (void *target, uint64_t source, size_t size, void *stream), {
    status = enqueue(stream, (Work){.target = target, .source = (const void *)source, .size = size});
})

IN_CONTEXT(cuMemsetD8Async, (uint64_t target, unsigned char value, size_t size, void *stream), {
    status = enqueue(stream, (Work){.target = (void *)target, .value = value, .size = size});
})

IN_CONTEXT(cuLaunchHostFunc, (void *stream, void (*function)(void *), void *data), {
    status = enqueue(stream, (Work){.target = data, .function = function});
})

IN_CONTEXT(cuStreamCreate, (void **stream, unsigned flags), {
    (void)flags;
    *stream = make(STREAM);
})

IN_CONTEXT(cuStreamSynchronize, (void *stream), {
    Object *o = find(STREAM, stream);
    if (!o) status = INVALID_HANDLE;
    else if (o->capturing) {
        o->invalidated = 1;
        status = CAPTURE_UNSUPPORTED;
    } else finish(o);
})

IN_CONTEXT(cuStreamDestroy_v2, (void *stream), {
    Object *o = find(STREAM, stream);
    if (o) finish(o);
    status = destroy(STREAM, stream);
})

IN_CONTEXT(cuEventCreate, (void **event, unsigned flags), {
    (void)flags;
    *event = make(EVENT);
})

IN_CONTEXT(cuEventRecord, (void *event, void *stream), {
    Object *o = find(EVENT, event);
    status = o ? enqueue(stream, (Work){.event = o}) : INVALID_HANDLE;
})

IN_CONTEXT(cuEventElapsedTime, (float *ms, void *start, void *end), {
    Object *a = find(EVENT, start), *b = find(EVENT, end);
    if (!a || !b) status = INVALID_HANDLE;
    else if (!a->recorded || !b->recorded) status = NOT_READY;
    else *ms = 1.5F;
})

Status cuEventElapsedTime_v2(float *ms, void *start, void *end) { return cuEventElapsedTime(ms, start, end); }

IN_CONTEXT(cuEventDestroy_v2, (void *event), { status = destroy(EVENT, event); })

IN_CONTEXT(cuStreamBeginCapture_v2, (void *stream, int mode), {
    Object *o = find(STREAM, stream);
    if (!o) status = INVALID_HANDLE;
    else if (o->capturing || mode < 0 || mode > 2) status = INVALID_VALUE;
    else {
        o->capturing = 1;
        o->invalidated = 0;
        o->captured = NULL;
    }
})

IN_CONTEXT(cuStreamEndCapture, (void *stream, void **graph), {
    Object *o = find(STREAM, stream);
    *graph = NULL;
    if (!o) status = INVALID_HANDLE;
    else if (!o->capturing) status = INVALID_VALUE;
    else {
        o->capturing = 0;
        if (o->invalidated) status = CAPTURE_INVALIDATED;
        else {
            Object *made = make(GRAPH);
            made->work = o->captured;
            *graph = made;
        }
    }
})

IN_CONTEXT(cuGraphDestroy, (void *graph), { status = destroy(GRAPH, graph); })

IN_CONTEXT(cuGraphInstantiateWithFlags, (void **executable, void *graph, unsigned long long flags), {
    Object *o = find(GRAPH, graph);
    if (!o || flags) status = INVALID_VALUE;
    else {
        Object *made = make(EXECUTABLE);
        for (Work *w = o->work; w; w = w->next) append(&made->work, *w);
        *executable = made;
    }
})

IN_CONTEXT(cuGraphLaunch, (void *executable, void *stream), {
    Object *o = find(EXECUTABLE, executable);
    if (!o) status = INVALID_HANDLE;
    else
        for (Work *w = o->work; w && status == OK; w = w->next) status = enqueue(stream, *w);
})

IN_CONTEXT(cuGraphExecDestroy, (void *executable), { status = destroy(EXECUTABLE, executable); })

#ifdef REST
#define OTHER(name) Status name(void) { return NOT_SUPPORTED; }
#include REST
#endif

__attribute__((destructor)) static void report(void) {
    for (Object *o = objects; o; o = o->next) fprintf(stderr, "stub: %s was not freed\n", KINDS[o->kind]);
    for (int i = 0; i < MAX_DEVICES; i++)
        if (retained[i]) fprintf(stderr, "stub: the context of device %d was not released\n", i);
    if (depth) fprintf(stderr, "stub: %d contexts are still current\n", depth);
}
