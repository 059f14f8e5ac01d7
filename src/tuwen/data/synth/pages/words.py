"""Words that drawn web pages are made of; firms, people and goods come from the lists of the other suites."""

from __future__ import annotations

from tuwen.data.sample import Language

Choices = dict[Language, tuple[str, ...]]

SIGN_IN_TITLES: Choices = {
    "zh": ("用户登录", "会员登录", "欢迎回来", "注册账号", "找回密码", "加入我们"),
    "en": ("Sign in", "Welcome back", "Create account", "Member login", "Reset password", "Join us"),
}
FIELDS: Choices = {
    "zh": ("用户名", "密码", "邮箱", "手机号", "验证码", "姓名", "地址", "公司", "邀请码"),
    "en": ("Username", "Password", "Email", "Phone", "Code", "Full name", "Address", "Company", "Invitation"),
}
BUTTONS: Choices = {
    "zh": (
        "登录",
        "注册",
        "提交",
        "确定",
        "保存",
        "搜索",
        "发送",
        "下载",
        "购买",
        "预订",
        "订阅",
        "下一步",
        "立即试用",
    ),
    "en": (
        "Log in",
        "Sign up",
        "Submit",
        "OK",
        "Save",
        "Search",
        "Send",
        "Download",
        "Buy",
        "Book",
        "Subscribe",
        "Next",
    ),
}
SECOND_BUTTONS: Choices = {
    "zh": ("取消", "返回", "重置", "跳过", "稍后再说", "清空"),
    "en": ("Cancel", "Back", "Reset", "Skip", "Later", "Clear"),
}
LINKS: Choices = {
    "zh": ("忘记密码", "帮助中心", "联系我们", "关于我们", "隐私政策", "服务条款", "查看全部", "了解更多", "意见反馈"),
    "en": (
        "Forgot password",
        "Help",
        "Contact us",
        "About us",
        "Privacy",
        "Terms",
        "See all",
        "Learn more",
        "Feedback",
    ),
}
MENU: Choices = {
    "zh": ("首页", "新闻", "产品", "服务", "价格", "社区", "招聘", "活动", "文档", "商城"),
    "en": ("Home", "News", "Products", "Services", "Pricing", "Forum", "Jobs", "Events", "Docs", "Shop"),
}
SWITCHES: Choices = {
    "zh": (
        "消息通知",
        "夜间模式",
        "自动更新",
        "位置信息",
        "声音提醒",
        "省电模式",
        "自动播放",
        "震动",
        "蓝牙",
        "数据同步",
    ),
    "en": (
        "Notifications",
        "Dark mode",
        "Auto update",
        "Location",
        "Sounds",
        "Save power",
        "Autoplay",
        "Vibration",
        "Bluetooth",
        "Sync",
    ),
}
SETTINGS_TITLES: Choices = {
    "zh": ("设置", "系统设置", "偏好设置", "通用", "账号设置"),
    "en": ("Settings", "Preferences", "General", "Account settings", "Options"),
}
SELECTIONS: Choices = {
    "zh": ("简体中文", "繁体中文", "英语", "每天", "每周", "小号字", "大号字", "默认"),
    "en": ("English", "Chinese", "French", "Daily", "Weekly", "Small text", "Large text", "Default"),
}
LIST_TITLES: Choices = {
    "zh": ("购物清单", "待办事项", "今日热门", "热卖商品", "最近浏览", "我的收藏"),
    "en": ("Shopping list", "To do", "Popular today", "Best sellers", "Recently viewed", "My favorites"),
}
TABLE_TITLES: Choices = {
    "zh": ("订单记录", "通讯录", "库存", "成绩单", "值班表"),
    "en": ("Orders", "Contacts", "Stock", "Results", "Schedule"),
}
HEADINGS: Choices = {
    "zh": ("名称", "数量", "价格", "日期", "城市", "状态"),
    "en": ("Name", "Count", "Price", "Date", "City", "State"),
}
STATES: Choices = {
    "zh": ("已完成", "处理中", "已取消", "待付款", "已发货"),
    "en": ("Done", "Open", "Canceled", "Unpaid", "Shipped"),
}
