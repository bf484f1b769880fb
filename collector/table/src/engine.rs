use std::fs::File;
use std::path::Path;
use std::sync::mpsc::channel;
use std::sync::{Arc, OnceLock};

use delta_kernel::{KernelError, KernelResult};
use delta_kernel_default_engine::executor::TaskExecutor;
use delta_kernel_default_engine::{DefaultEngine, DefaultEngineBuilder};
use futures::future::BoxFuture;
use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use parking_lot::Mutex;
use tokio::runtime::{EnterGuard, Handle, Runtime};

use crate::TableError;

pub(crate) type Engine = DefaultEngine<Executor>;

/// Runs the kernel's I/O on a runtime of its own, with more than one thread because checkpoints wait within.
///
/// Unlike the kernel's own executor it may be called from any thread: within a runtime of one thread that one panics.
#[derive(Debug)]
pub(crate) struct Executor(Runtime);

impl TaskExecutor for Executor {
    type Guard<'a> = EnterGuard<'a>;

    // A task that did not answer has panicked, and its panic goes on here, as it would if the caller had run it.
    #[allow(clippy::expect_used)]
    fn block_on<T>(&self, task: T) -> T::Output
    where
        T: Future + Send + 'static,
        T::Output: Send + 'static,
    {
        let (sender, receiver) = channel();
        self.0.spawn(async move {
            // Nobody waits any more only if the caller panicked.
            let _ = sender.send(task.await);
        });
        let wait = || receiver.recv().expect("a task of the delta engine has panicked");
        let is_within = Handle::try_current().is_ok_and(|current| current.id() == self.0.handle().id());
        if is_within { tokio::task::block_in_place(wait) } else { wait() }
    }

    fn spawn<F>(&self, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.0.spawn(task);
    }

    fn spawn_blocking<T, R>(&self, task: T) -> BoxFuture<'_, KernelResult<R>>
    where
        T: FnOnce() -> R + Send + 'static,
        R: Send + 'static,
    {
        let task = self.0.spawn_blocking(task);
        Box::pin(async move { task.await.map_err(|error| KernelError::generic(error.to_string())) })
    }

    fn enter(&self) -> EnterGuard<'_> {
        self.0.enter()
    }
}

/// What runs the engines of all tables. It has threads of its own, and is never dropped, because a tokio runtime must not
/// be dropped where a caller may be async.
pub(crate) fn executor() -> Result<Arc<Executor>, TableError> {
    static EXECUTOR: OnceLock<Arc<Executor>> = OnceLock::new();
    static MAKING: Mutex<()> = Mutex::new(());
    let _making = MAKING.lock();
    if let Some(executor) = EXECUTOR.get() {
        return Ok(Arc::clone(executor));
    }
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(2).max_blocking_threads(4).thread_name("delta").enable_all().build();
    let executor = Arc::new(Executor(runtime.map_err(TableError::io("delta runtime"))?));
    Ok(Arc::clone(EXECUTOR.get_or_init(|| executor)))
}

/// The engine of the tables in folders. It has no state of a table.
pub(crate) fn local_engine() -> Result<Arc<Engine>, TableError> {
    Ok(engine_over(Arc::new(LocalFileSystem::new()), executor()?))
}

/// An engine over a store of objects.
pub(crate) fn engine_over(store: Arc<dyn ObjectStore>, executor: Arc<Executor>) -> Arc<Engine> {
    Arc::new(DefaultEngineBuilder::new(store).with_task_executor(executor).build())
}

/// Makes a file's content durable.
pub(crate) fn sync_file(path: &Path) -> Result<(), TableError> {
    File::open(path).and_then(|file| file.sync_all()).map_err(TableError::io(path))
}

/// Makes a folder's entries durable.
pub(crate) fn sync_folder(folder: &Path) -> Result<(), TableError> {
    sync_file(folder)
}
