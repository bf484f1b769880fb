//! The table that DataFusion sees: buffer and files at one moment, narrowed to a scope before anything else happens.

use std::fmt;
use std::sync::Arc;

use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{DFSchema, Result};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::error::DataFusionError;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType, col, lit};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::union::UnionExec;
use object_store::ObjectMeta;
use object_store::path::Path as ObjectPath;
use tenantscope_model::Scope;
use tenantscope_table::LiveFile;

use crate::answer::TimeRange;
use crate::store::Store;

/// One signal's records within a scope and a range of time.
pub(crate) struct ScopedTable {
    columns: SchemaRef,
    scope: Scope,
    memory: Vec<RecordBatch>,
    files: Vec<PartitionedFile>,
}

impl fmt::Debug for ScopedTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScopedTable").field("files", &self.files.len()).finish_non_exhaustive()
    }
}

impl ScopedTable {
    /// Takes buffer and files now. Files that can have nothing of the scope or the range are left out; rows outside the
    /// range may come all the same, rows outside the scope never.
    pub(crate) fn new(store: &Store, scope: &Scope, range: TimeRange) -> Result<Self> {
        let view = store.view();
        let memory = view.memory.iter().map(|rows| within(rows, scope)).collect::<Result<Vec<_>>>()?;
        let wanted = view.files.iter().filter(|file| may_match(file, scope, range));
        let root = store.folder();
        let files = wanted.map(|file| partitioned_file(&root.join(&file.path), file)).collect::<Result<Vec<_>>>()?;
        let columns = Arc::clone(&store.form.columns);
        Ok(Self { columns, scope: scope.clone(), memory, files })
    }

    /// The condition that every row fulfils; `None` for readers of everything.
    fn scope_filter(&self) -> Option<Expr> {
        match &self.scope {
            Scope::All => None,
            Scope::Tenants(tenants) => {
                let tenants = tenants.iter().map(|tenant| lit(tenant.as_str())).collect();
                Some(col("tenant").in_list(tenants, false))
            }
        }
    }

    fn physical(&self, state: &dyn Session, filter: Option<Expr>) -> Result<Option<Arc<dyn PhysicalExpr>>> {
        let Some(filter) = filter else { return Ok(None) };
        let schema = DFSchema::try_from(Arc::clone(&self.columns))?;
        Ok(Some(state.create_physical_expr(filter, &schema)?))
    }

    fn scan_files(&self, state: &dyn Session, filters: &[Expr]) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        if self.files.is_empty() {
            return Ok(None);
        }
        let filter = conjunction(self.scope_filter().into_iter().chain(filters.iter().cloned()));
        let mut source = ParquetSource::new(Arc::clone(&self.columns))
            .with_pushdown_filters(true)
            .with_reorder_filters(true)
            .with_bloom_filter_on_read(true);
        if let Some(predicate) = self.physical(state, filter)? {
            source = source.with_predicate(predicate);
        }
        // One group for each core, files spread over them.
        let groups = state.config().target_partitions().clamp(1, self.files.len());
        let mut file_groups = vec![Vec::new(); groups];
        for (at, file) in self.files.iter().enumerate() {
            if let Some(group) = file_groups.get_mut(at % groups) {
                group.push(file.clone());
            }
        }
        let config = FileScanConfigBuilder::new(ObjectStoreUrl::local_filesystem(), Arc::new(source))
            .with_file_groups(file_groups.into_iter().map(FileGroup::new).collect())
            .build();
        Ok(Some(DataSourceExec::from_data_source(config)))
    }
}

#[async_trait]
impl TableProvider for ScopedTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.columns)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        // They prune and narrow the files; the buffer's rows are still to be filtered.
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let mut inputs: Vec<Arc<dyn ExecutionPlan>> = Vec::new();
        if !self.scope.is_none() {
            if self.memory.iter().any(|rows| rows.num_rows() > 0) {
                let partitions = [self.memory.clone()];
                inputs.push(MemorySourceConfig::try_new_exec(&partitions, Arc::clone(&self.columns), None)?);
            }
            inputs.extend(self.scan_files(state, filters)?);
        }
        let mut plan: Arc<dyn ExecutionPlan> = match inputs.len() {
            0 => Arc::new(EmptyExec::new(Arc::clone(&self.columns))),
            _ => UnionExec::try_new(inputs)?,
        };
        // The files' reader may treat a predicate as a hint, so the scope is a filter of the plan, too.
        if let Some(predicate) = self.physical(state, self.scope_filter())? {
            plan = Arc::new(FilterExec::try_new(predicate, plan)?);
        }
        if let Some(projection) = projection {
            plan = Arc::new(ProjectionExec::try_new(projected(&self.columns, projection), plan)?);
        }
        Ok(plan)
    }
}

fn projected(columns: &SchemaRef, projection: &[usize]) -> Vec<(Arc<dyn PhysicalExpr>, String)> {
    let fields = columns.fields();
    let chosen = projection.iter().filter_map(|at| Some((*at, fields.get(*at)?.name())));
    chosen.map(|(at, name)| (Arc::new(Column::new(name, at)) as Arc<dyn PhysicalExpr>, name.clone())).collect()
}

/// Those rows that the scope allows.
fn within(rows: &RecordBatch, scope: &Scope) -> Result<RecordBatch> {
    if matches!(scope, Scope::All) {
        return Ok(rows.clone());
    }
    let tenants = rows.column_by_name("tenant").and_then(|c| c.as_string_opt::<i32>());
    let Some(tenants) = tenants else {
        return Err(DataFusionError::Internal("rows without a tenant column".to_owned()));
    };
    let allowed: BooleanArray =
        tenants.iter().map(|tenant| Some(tenant.is_some_and(|t| scope.allows_text(t)))).collect();
    Ok(filter_record_batch(rows, &allowed)?)
}

fn may_match(file: &LiveFile, scope: &Scope, range: TimeRange) -> bool {
    let has_tenant = match scope {
        Scope::All => true,
        Scope::Tenants(tenants) => tenants.iter().any(|tenant| file.may_have_text("tenant", tenant.as_str())),
    };
    has_tenant && file.may_have_between("time_ns", range.start_ns, range.end_ns)
}

fn partitioned_file(path: &std::path::Path, file: &LiveFile) -> Result<PartitionedFile> {
    let location = ObjectPath::from_absolute_path(path).map_err(|error| DataFusionError::External(Box::new(error)))?;
    let last_modified = std::time::UNIX_EPOCH + std::time::Duration::from_millis(file.modified_ms.unsigned_abs());
    Ok(PartitionedFile::new_from_meta(ObjectMeta {
        location,
        last_modified: last_modified.into(),
        size: file.size_bytes,
        e_tag: None,
        version: None,
    }))
}
