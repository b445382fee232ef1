"""Names, columns and types of the tables that are compared, as kpis.md gives them. The first `key` columns identify a row."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    name: str
    key: int
    columns: dict  # name -> int | decimal | text | bool | date | time

    @property
    def method(self):
        return self.name.split(".")[1]


def table(name, key, columns):
    pairs = [column.split(":") for column in columns.split()]
    return Table(name, key, {column: kind for column, kind in pairs})


KPI_TABLES = [
    table("sales.total_sales", 4, "day:date region:text store_id:int product_id:int net_revenue:decimal gross_revenue:decimal discount:decimal units:int returns_units:int returns_value:decimal transactions:int"),
    table("sales.stock_availability", 2, "product_id:int warehouse_id:int stock_level:int stock_status:text needs_restock:bool observed_at:time"),
    table("sales.stock_availability_rate", 1, "product_id:int pairs:int in_stock:int availability_pct:decimal"),
    table("sales.product_turnover", 2, "product_id:int day:date units_sold_30d:int avg_stock_30d:decimal turnover_rate:decimal"),
    table("marketing.engagement", 1, "day:date total_events:int engagement_events:int engagement_score_pct:decimal"),
    table("marketing.customer_engagement", 2, "user_id:int day:date total_events:int engagement_events:int engagement_score_pct:decimal"),
    table("marketing.sessions", 1, "day:date sessions:int avg_duration_s:decimal median_duration_s:decimal bounce_rate_pct:decimal unique_users:int avg_path_depth:decimal mobile_event_pct:decimal"),
    table("marketing.loyalty_activity", 1, "day:date loyalty_interactions:int loyalty_customers:int interactions:int customers:int loyalty_activity_rate_pct:decimal avg_rating:decimal"),
    table("operations.inventory_turnover", 3, "warehouse_id:int category:text day:date cogs_30d:decimal avg_inventory_value_30d:decimal turnover:decimal days_of_inventory:decimal"),
    table("operations.restock_frequency", 2, "product_id:int warehouse_id:int restocks_30d:int avg_days_between:decimal last_restock_at:time"),
    table("operations.stockout_alerts", 2, "product_id:int warehouse_id:int status:text since:time stock_level:int restock_threshold:int days_of_cover:decimal"),
    table("support.feedback_score", 2, "day:date channel:text ratings:int avg_rating:decimal csat_pct:decimal"),
    table("support.interaction_volume", 3, "day:date interaction_type:text channel:text interactions:int unique_customers:int"),
    table("support.time_to_resolution", 1, "day:date resolved:int median_hours:decimal p90_hours:decimal avg_hours:decimal open_backlog:int"),
]

# kpis.md names the rules, not each column: of these, the ones that the table has are compared. A key of 0: equal rows are counted.
SILVER_TABLES = [
    table("silver.pos_sales", 0, "transaction_id:text line_no:int store_id:int product_id:int quantity:int gross_revenue:decimal net_revenue:decimal discount:decimal region:text"),
    table("silver.inventory_levels", 3, "product_id:int warehouse_id:int observed_at:time stock_level:int restock_threshold:int stock_status:text needs_restock:bool"),
    table("silver.web_events", 1, "_event_id:text session_id:text user_id:int device_type:text browser:text event_type:text page_path:text path_depth:int page_category:text is_mobile:bool is_engagement:bool"),
    table("silver.crm_interactions", 1, "_event_id:text customer_id:int interaction_type:text channel:text rating:int message_excerpt:text case_id:text case_status:text"),
]
TABLES = SILVER_TABLES + KPI_TABLES

SALES, STOCK, WEB, CRM = (t.name for t in SILVER_TABLES)
# Whose valid rows a table depends on: its freshness.
INPUTS = {
    SALES: [SALES], STOCK: [STOCK], WEB: [WEB], CRM: [CRM],
    "sales.total_sales": [SALES], "sales.stock_availability": [STOCK], "sales.stock_availability_rate": [STOCK], "sales.product_turnover": [SALES, STOCK],
    "marketing.engagement": [WEB], "marketing.customer_engagement": [WEB], "marketing.sessions": [WEB], "marketing.loyalty_activity": [CRM],
    "operations.inventory_turnover": [SALES, STOCK], "operations.restock_frequency": [SALES, STOCK], "operations.stockout_alerts": [SALES, STOCK],
    "support.feedback_score": [CRM], "support.interaction_volume": [CRM], "support.time_to_resolution": [CRM],
}  # fmt: skip
