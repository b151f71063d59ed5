//! The GraphQL documents as types, checked against the schema at compile time.

/// Declares the documents and, for each fenced write, the field of its answer that has the rows.
macro_rules! documents {
    ($($path:tt: $($operation:ident $(-> $module:ident)?),+;)*) => {$($(
        #[derive(GraphQLQuery)]
        #[graphql(
            schema_path = "../../hasura/schema.graphql",
            query_path = $path,
            response_derives = "Debug",
            custom_scalars_module = "crate::rows::scalars"
        )]
        struct $operation;

        $(impl FencedWrite for $operation {
            fn rows(answer: Self::ResponseData) -> Vec<(String, String)> {
                answer.$module.into_iter().map(|row| (row.id, row.outcome)).collect()
            }
        })?
    )+)*};
}
pub(crate) use documents;
